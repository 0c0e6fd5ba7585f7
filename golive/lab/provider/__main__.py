"""The provider's executable: what Terraform starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tf import iface, runner, schema, types
from tf.utils import Diagnostics

from golive.lab.provider.host import Host
from golive.lab.provider.network import Network
from golive.lab.provider.resource import Settings, attribute
from golive.lab.provider.static_host import StaticHost
from golive.lab.provider.wan_link import WanLink

__all__ = ["ADDRESS", "DwcpProvider"]

ADDRESS = "golive.internal/dwcp/dwcp"
"""What ``required_providers`` calls it: a host of no registry, so that only the toolkit's own mirror can answer."""


class DwcpProvider(iface.Provider):  # type: ignore[misc]
    """``provider "dwcp" { env = ..., state_dir = ..., runtime = ... }``"""

    def __init__(self) -> None:
        self.settings: Settings | None = None

    def get_model_prefix(self) -> str:
        return "dwcp_"

    def full_name(self) -> str:
        return ADDRESS

    def get_provider_schema(self, diags: Diagnostics) -> schema.Schema:
        return schema.Schema(
            version=1,
            attributes=[
                attribute("env", types.String(), "Environment; becomes the label dwcp.env.", required=True),
                attribute("state_dir", types.String(), "The environment's state directory; keys are under keys/.", required=True),
                attribute("runtime", types.String(), "OCI runtime that boots hosts here, as detected.", optional=True),
            ],
        )

    def validate_config(self, diags: Diagnostics, config: dict[str, Any]) -> None:
        return None

    def configure_provider(self, diags: Diagnostics, config: dict[str, Any]) -> None:
        self.settings = Settings(env=config["env"], state_dir=Path(config["state_dir"]), runtime=config.get("runtime") or "runc")

    def get_data_sources(self) -> list[type[iface.DataSource]]:
        return []

    def get_resources(self) -> list[type[iface.Resource]]:
        return [Network, Host, WanLink, StaticHost]


if __name__ == "__main__":
    runner.run_provider(DwcpProvider(), sys.argv)
