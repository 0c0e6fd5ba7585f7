variable "sites" {
  description = "Network and CIDR of each site, by its short name."
  type = map(object({
    network = string
    cidr    = string
  }))
}

variable "transit_cidr" {
  description = "IPv4 /24 for the links' own addresses; each takes a /31."
  type        = string
  default     = "10.77.255.0/24"

  validation {
    condition     = can(cidrsubnet(var.transit_cidr, 7, 127)) && endswith(var.transit_cidr, "/24")
    error_message = "transit_cidr must be an IPv4 /24 that no site uses, as in \"10.77.255.0/24\"."
  }
}

variable "link" {
  description = "What every link does, each way: delay there and back and its jitter in ms, rate in Mbit/s, loss in percent, queue in bytes/1000."
  type = object({
    rtt_ms       = optional(number)
    jitter_ms    = optional(number)
    rate_mbit    = optional(number)
    loss_percent = optional(number)
    queue_kb     = optional(number)
  })
  default = {}

  validation {
    condition     = var.link.rate_mbit == null ? true : var.link.rate_mbit >= 1 && floor(var.link.rate_mbit) == var.link.rate_mbit
    error_message = "rate_mbit must be a whole number of Mbit/s, at least 1; leave it out for no limit."
  }
  validation {
    condition     = var.link.loss_percent == null ? true : var.link.loss_percent >= 0 && var.link.loss_percent <= 100
    error_message = "loss_percent must be from 0 to 100."
  }
  validation {
    condition     = var.link.jitter_ms == null ? true : var.link.jitter_ms >= 0 && var.link.jitter_ms <= coalesce(var.link.rtt_ms, 0) / 2
    error_message = "jitter_ms must be from 0 to half of rtt_ms."
  }
}
