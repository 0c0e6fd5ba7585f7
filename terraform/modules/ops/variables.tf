variable "env" {
  description = "Environment; part of the name."
  type        = string
}

variable "site" {
  description = "Site it is counted to."
  type        = string
}

variable "networks" {
  description = "CIDR of every network it stands in, by the network's name."
  type        = map(string)

  validation {
    condition     = length(var.networks) > 0
    error_message = "networks must name at least one network: a host without one cannot be reached."
  }
}

variable "home" {
  description = "The network whose address the operator uses."
  type        = string
}

variable "image" {
  description = "Image the host boots from."
  type        = string
}

variable "memory_mb" {
  description = "Memory limit in MiB."
  type        = number
  default     = 2560

  validation {
    condition     = var.memory_mb >= 512
    error_message = "memory_mb must be at least 512: Prometheus keeps its head block in memory."
  }
}
