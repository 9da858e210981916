# room: reporting
"""A grid shows every image under its title, wrong ones in a frame."""

import torch

from graft.reporting.figures.image_grid import WRONG, image_grid


def test_every_image_is_shown_with_its_title() -> None:
    images = torch.rand(5, 3, 8, 8)
    titles = ["a", "b\nx", "$5", "d", "a name much longer than any title can be"]
    figure = image_grid(images, titles, [False, True, False, False, False])
    assert [axes.get_title() for axes in figure.axes] == [*titles[:4], titles[4][:20]]
    for axes, image in zip(figure.axes, images, strict=True):
        assert torch.equal(torch.as_tensor(axes.images[0].get_array()), image.permute(1, 2, 0))
    assert [axes.title.get_color() == WRONG for axes in figure.axes] == [False, True, False, False, False]
