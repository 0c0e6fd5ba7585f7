variable "env" {
  description = "Environment; part of every name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,15}$", var.env))
    error_message = "env must be 1 to 16 characters, a-z, 0-9 and -, starting with a letter; it becomes part of host names."
  }
}

variable "site" {
  description = "Short name of the site, as in ams."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,7}$", var.site))
    error_message = "site must be 2 to 8 characters, a-z and 0-9, starting with a letter, as in \"ams\"."
  }
}

variable "cidr" {
  description = "The site's IPv4 /24."
  type        = string

  validation {
    condition     = can(cidrhost(var.cidr, 254)) && endswith(var.cidr, "/24")
    error_message = "cidr must be an IPv4 /24, as in \"10.77.1.0/24\": hosts (.11 on), the router (.254) and the operator's machine (.1) have fixed places in it."
  }
}

variable "remote_cidrs" {
  description = "Networks of the other sites, reached through the site's router."
  type        = list(string)
  default     = []
}

variable "agents" {
  description = "Number of agent hosts."
  type        = number
  default     = 2

  validation {
    condition     = var.agents >= 1 && var.agents <= 89 && floor(var.agents) == var.agents
    error_message = "agents must be a whole number from 1 to 89: host n has the address .1n, and .100 on are kept free."
  }
}

variable "image" {
  description = "Image the hosts boot from."
  type        = string
}

variable "memory_mb" {
  description = "Memory limit of a host in MiB."
  type        = number
  default     = 2560

  validation {
    condition     = var.memory_mb >= 256
    error_message = "memory_mb must be at least 256: systemd, sshd and an agent need that much."
  }
}
