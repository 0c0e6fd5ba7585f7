variable "env" {
  description = "Environment."
  type        = string
  default     = "prod"
}

variable "state_dir" {
  description = "The environment's state directory, with the operator's key under keys/; given by the toolkit."
  type        = string
}

variable "hosts" {
  description = "The machines; given by the toolkit from inventories/prod/hosts.yaml and checked by the module."
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
}
