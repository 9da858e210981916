# room: reporting
"""Long names lose their middle, so that names with a common beginning stay apart."""

from graft.reporting.figures.plots import shortened


def test_only_long_names_lose_their_middle() -> None:
    assert shortened("a name of 24 letters ...") == "a name of 24 letters ..."
    long = [f"a rather long class name number {n}" for n in (1, 22)]
    assert [shortened(name, 14) for name in long] == ["a rathe…mber 1", "a rathe…ber 22"]
