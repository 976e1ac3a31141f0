"""The twelve networks of the paper, written out by hand from its definitions."""

# "5-96" is a 5x5 convolution with 96 maps, "/2" one of stride 2, "pool" the max pool 3x3 of stride 2.
PAPER = {
    ("A", "base"): "5-96 pool 5-192 pool 3-192 1-192 1-10",
    ("A", "strided"): "5-96/2 5-192/2 3-192 1-192 1-10",
    ("A", "convpool"): "5-96 3-96 pool 5-192 3-192 pool 3-192 1-192 1-10",
    ("A", "allcnn"): "5-96 3-96/2 5-192 3-192/2 3-192 1-192 1-10",
    ("B", "base"): "5-96 1-96 pool 5-192 1-192 pool 3-192 1-192 1-10",
    ("B", "strided"): "5-96 1-96/2 5-192 1-192/2 3-192 1-192 1-10",
    ("B", "convpool"): "5-96 1-96 3-96 pool 5-192 1-192 3-192 pool 3-192 1-192 1-10",
    ("B", "allcnn"): "5-96 1-96 3-96/2 5-192 1-192 3-192/2 3-192 1-192 1-10",
    ("C", "base"): "3-96 3-96 pool 3-192 3-192 pool 3-192 1-192 1-10",
    ("C", "strided"): "3-96 3-96/2 3-192 3-192/2 3-192 1-192 1-10",
    ("C", "convpool"): "3-96 3-96 3-96 pool 3-192 3-192 3-192 pool 3-192 1-192 1-10",
    ("C", "allcnn"): "3-96 3-96 3-96/2 3-192 3-192 3-192/2 3-192 1-192 1-10",
}
