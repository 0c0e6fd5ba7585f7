"""The machines an environment stands on: made in the lab, adopted elsewhere."""

from golive.ground.look import Looked, look
from golive.ground.provision import Provisioned, planned, provision

__all__ = ["Looked", "Provisioned", "look", "planned", "provision"]
