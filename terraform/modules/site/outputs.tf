output "network" {
  description = "Name of the site's network."
  value       = dwcp_network.this.name
}

output "hosts" {
  description = "The site's hosts, as the toolkit's fleet knows them."
  value = [
    for name, host in dwcp_host.agent : {
      name      = host.name
      site      = host.site
      address   = local.hosts[name].address
      addresses = [local.hosts[name].address]
      role      = "agent"
      gateway   = local.hosts[name].number == 1
      load      = local.hosts[name].number == min(2, var.agents)
      ssh_user  = "root"
      ssh_port  = 22
      host_key  = host.host_key
    }
  ]
}
