"""Networks by name."""

from allconv.models.article import article_net
from allconv.models.fast import fast_net
from allconv.models.fusion import fuse
from allconv.models.lenet5 import lenet
from allconv.models.paper import all_cnn
from allconv.models.residual import residual_net, resnet20
from allconv.models.trained import pretrained

__all__ = ["all_cnn", "article_net", "fast_net", "fuse", "lenet", "pretrained", "residual_net", "resnet20"]
