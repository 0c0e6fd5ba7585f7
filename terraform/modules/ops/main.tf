# The host of Prometheus and Alertmanager: one foot in every site, so that it needs no route.

resource "dwcp_host" "this" {
  name      = "dwcp-${var.env}-ops"
  site      = var.site
  image     = var.image
  memory_mb = var.memory_mb
  networks  = { for network, cidr in var.networks : network => cidrhost(cidr, 10) }
  routes    = {}
}
