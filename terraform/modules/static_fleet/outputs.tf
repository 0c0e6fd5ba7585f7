output "hosts" {
  description = "The machines, as the toolkit's fleet knows them."
  value = [
    for host in var.hosts : {
      name      = host.name
      site      = host.site
      address   = host.address
      addresses = [host.address]
      role      = host.role
      gateway   = host.gateway
      load      = host.load
      ssh_user  = host.ssh_user
      ssh_port  = host.ssh_port
      host_key  = host.host_key
      cache     = host.cache
      labels    = host.labels
      bastion   = host.bastion
    }
  ]
}

output "facts" {
  description = "What each machine was seen to be; reachable is false where it did not let the operator in."
  value = {
    for name, host in dwcp_static_host.this : name => {
      reachable    = host.reachable
      reason       = host.reason
      fingerprint  = host.fingerprint
      kernel       = host.kernel
      cores        = host.cores
      numa_nodes   = host.numa_nodes
      cpu_features = host.cpu_features
    }
  }
}
