"""Settings between two settings."""

from lofid.music.parameters import PARAMETERS, ParameterKind, Settings


def morphed(start: Settings, end: Settings, share: float) -> Settings:
    """The settings at ``share`` (0 to 1) of the way from ``start`` to ``end``.

    Numbers of music and sound go evenly, whole ones rounded; everything else (choices, flags,
    lists, and all of ``[midi]``, whose numbers are names) changes at half.
    """
    near = start if share < 0.5 else end
    if share <= 0 or share >= 1:
        return near
    settings = near
    for path, parameter in PARAMETERS.items():
        if (
            parameter.kind not in (ParameterKind.NUMBER, ParameterKind.INTEGER)
            or parameter.group == "midi"
        ):
            continue
        a, b = start.value(path), end.value(path)
        assert isinstance(a, int | float)
        assert isinstance(b, int | float)
        if a != b:
            between = a + (b - a) * share
            whole = parameter.kind is ParameterKind.INTEGER
            settings = settings.with_value(path, round(between) if whole else between)
    return settings
