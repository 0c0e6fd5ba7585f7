variable "env" {
  description = "Environment."
  type        = string
  default     = "lab"
}

variable "state_dir" {
  description = "The environment's state directory, with its keys; given by the toolkit."
  type        = string
}

variable "runtime" {
  description = "OCI runtime that boots hosts on this machine; detected by the toolkit."
  type        = string
  default     = "runc"
}

variable "image" {
  description = "Image the hosts boot from; built and named by the toolkit."
  type        = string
}

variable "sites" {
  description = "The IPv4 /24 of each site, by its short name."
  type        = map(string)
  default = {
    ams = "10.77.1.0/24"
    nyc = "10.77.2.0/24"
    sgp = "10.77.3.0/24"
  }

  validation {
    condition     = length(var.sites) >= 1 && length(distinct(values(var.sites))) == length(var.sites)
    error_message = "sites must name at least one site, and every site needs a network of its own."
  }
}

variable "agents_per_site" {
  description = "Agent hosts in each site."
  type        = number
  default     = 2
}

variable "memory_mb" {
  description = "Memory limit of each host in MiB."
  type        = number
  default     = 2560
}

variable "link" {
  description = "What every WAN link does, each way: delay there and back and its jitter in ms, rate in Mbit/s, loss in percent, queue in bytes/1000."
  type = object({
    rtt_ms       = optional(number)
    jitter_ms    = optional(number)
    rate_mbit    = optional(number)
    loss_percent = optional(number)
    queue_kb     = optional(number)
  })
  default = {
    rtt_ms    = 20
    rate_mbit = 1000
  }
}
