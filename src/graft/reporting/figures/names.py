"""Class names where a figure has little room."""


def shortened(name: str, longest: int = 24) -> str:
    """Return the name without its middle where it has more letters than `longest`: ends tell names apart."""
    kept = longest // 2
    return name if len(name) <= longest else f"{name[:kept]}…{name[-kept + 1 :]}"
