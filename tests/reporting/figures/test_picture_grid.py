"""A grid shows every picture under its title, wrong ones in a frame."""

import torch

from graft.reporting.figures.picture_grid import WRONG, picture_grid


def test_every_picture_is_shown_with_its_title() -> None:
    pictures = torch.rand(5, 3, 8, 8)
    titles = ["a", "b\nx", "$5", "d", "a name much longer than any title can be"]
    figure = picture_grid(pictures, titles, [False, True, False, False, False])
    assert [axes.get_title() for axes in figure.axes] == [*titles[:4], titles[4][:26]]
    for axes, picture in zip(figure.axes, pictures, strict=True):
        assert torch.equal(torch.as_tensor(axes.images[0].get_array()), picture.permute(1, 2, 0))
    assert [axes.title.get_color() == WRONG for axes in figure.axes] == [False, True, False, False, False]
