"""The machines an environment stands on: made in the lab, adopted elsewhere."""

from golive.ground.provision import Provisioned, planned, provision

__all__ = ["Provisioned", "planned", "provision"]
