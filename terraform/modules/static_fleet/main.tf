# Machines that exist already. Terraform makes and removes nothing here: it looks, and keeps what it saw.

resource "dwcp_static_host" "this" {
  for_each = { for host in var.hosts : host.name => host }

  name     = each.value.name
  site     = each.value.site
  address  = each.value.address
  ssh_user = each.value.ssh_user
  ssh_port = each.value.ssh_port
  host_key = each.value.host_key
  bastion = (each.value.bastion == null ? null :
  "${each.value.bastion.ssh_user}@${each.value.bastion.address}:${each.value.bastion.ssh_port} ${each.value.bastion.host_key}")
}
