# A link between every two sites.

locals {
  names = sort(keys(var.sites))

  pairs = flatten([
    for i, a in local.names : [
      for b in slice(local.names, i + 1, length(local.names)) : { a = a, b = b }
    ]
  ])

  links = {
    for index, pair in local.pairs :
    "${pair.a}-${pair.b}" => merge(pair, { transit = cidrsubnet(var.transit_cidr, 7, index) })
  }
}

resource "dwcp_wan_link" "this" {
  for_each = local.links

  a            = var.sites[each.value.a].network
  b            = var.sites[each.value.b].network
  cidr_a       = var.sites[each.value.a].cidr
  cidr_b       = var.sites[each.value.b].cidr
  transit      = each.value.transit
  rtt_ms       = var.link.rtt_ms
  jitter_ms    = var.link.jitter_ms
  rate_mbit    = var.link.rate_mbit
  loss_percent = var.link.loss_percent
  queue_kb     = var.link.queue_kb
}
