output "hosts" {
  description = "Every host, ordered by name."
  value       = [for name, host in { for host in concat(flatten([for site in module.site : site.hosts]), module.ops.hosts) : host.name => host } : host]
}

output "links" {
  description = "The WAN links."
  value       = module.wan.links
}
