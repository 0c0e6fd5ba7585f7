output "hosts" {
  description = "The host, as the toolkit's fleet knows it."
  value = [{
    name      = dwcp_host.this.name
    site      = dwcp_host.this.site
    address   = cidrhost(var.networks[var.home], 10)
    addresses = [for network, cidr in var.networks : cidrhost(cidr, 10)]
    role      = "ops"
    gateway   = false
    load      = false
    ssh_user  = "root"
    ssh_port  = 22
    host_key  = dwcp_host.this.host_key
  }]
}
