output "hosts" {
  description = "Every host, ordered by name."
  value       = [for name, host in { for host in module.fleet.hosts : host.name => host } : host]
}

output "facts" {
  description = "What each machine was seen to be."
  value       = module.fleet.facts
}
