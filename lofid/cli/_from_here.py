"""What users name from the folder that they are in, as the daemon finds it from its own."""

from lofid.files import user_path


def named_from_here(name: str) -> str:
    """A path, absolute; a preset's, style's or snapshot's name stays a name."""
    is_path = "/" in name or name.endswith((".toml", ".lofistate", ".safetensors"))
    return str(user_path(name).absolute()) if is_path else name


def output_from_here(spec: str) -> str:
    """``KIND[:ARGUMENT]`` with a file's path made absolute."""
    kind, _, argument = spec.partition(":")
    return f"file:{user_path(argument).absolute()}" if kind == "file" and argument else spec
