variable "hosts" {
  description = "The machines, as listed in inventories/<env>/hosts.yaml."
  type = list(object({
    name     = string
    site     = string
    address  = string
    role     = string
    gateway  = optional(bool, false)
    load     = optional(bool, false)
    ssh_user = optional(string, "root")
    ssh_port = optional(number, 22)
    host_key = string
    cache    = optional(bool, false)
    labels   = optional(map(string), {})
    bastion = optional(object({
      name     = string
      address  = string
      ssh_user = optional(string, "root")
      ssh_port = optional(number, 22)
      host_key = string
    }))
  }))

  validation {
    condition     = length(var.hosts) > 0
    error_message = "hosts is empty: list your machines in inventories/<env>/hosts.yaml."
  }

  validation {
    condition     = length(distinct([for host in var.hosts : host.name])) == length(var.hosts)
    error_message = "Two hosts have the same name: give every machine in hosts.yaml a name of its own."
  }

  validation {
    condition     = alltrue([for host in var.hosts : contains(["agent", "ops"], host.role)])
    error_message = "A host's role is neither \"agent\" nor \"ops\": correct it in hosts.yaml."
  }

  validation {
    condition     = length([for host in var.hosts : host if host.role == "ops"]) == 1
    error_message = "Exactly one host must have the role \"ops\" (Prometheus and Alertmanager): correct hosts.yaml."
  }

  validation {
    condition     = alltrue([for host in var.hosts : can(regex("^(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|ssh-rsa) [A-Za-z0-9+/=]+$", host.host_key))])
    error_message = "A host's host_key is not a public key: write its type and body, as `ssh-keyscan` or the machine's owner gives them."
  }
}
