# One site of the lab: its network and its agent hosts. Host 1 is the gateway, host 2 runs the load client.

locals {
  network = "dwcp-${var.env}-${var.site}"

  hosts = {
    for number in range(1, var.agents + 1) :
    "${local.network}-${number}" => {
      number  = number
      address = cidrhost(var.cidr, 10 + number)
    }
  }
}

resource "dwcp_network" "this" {
  name = local.network
  cidr = var.cidr
}

resource "dwcp_host" "agent" {
  for_each = local.hosts

  name      = each.key
  site      = var.site
  image     = var.image
  memory_mb = var.memory_mb
  networks  = { (dwcp_network.this.name) = each.value.address }
  routes    = { for cidr in var.remote_cidrs : cidr => cidrhost(var.cidr, 254) }
}
