"""What users name from the folder that they are in, as the daemon finds it from its own."""

from lofid.errors import LofidError
from lofid.files import is_text, path_as_text, user_path


def named_from_here(name: str) -> str:
    """A path, absolute; a preset's, style's or snapshot's name stays a name."""
    is_path = "/" in name or name.endswith((".toml", ".lofistate", ".safetensors"))
    return _text(str(user_path(name).absolute()) if is_path else name)


def output_from_here(spec: str) -> str:
    """``KIND[:ARGUMENT]`` with a file's path made absolute."""
    kind, _, argument = spec.partition(":")
    is_file = kind == "file" and argument
    return _text(f"file:{user_path(argument).absolute()}" if is_file else spec)


def _text(name: str) -> str:
    """The name, if it can be told to the daemon, whose messages are UTF-8."""
    if not is_text(name):
        raise LofidError(
            f"The name '{path_as_text(name)}' is no text in UTF-8, and the daemon takes no other; "
            "rename it or its folder."
        )
    return name
