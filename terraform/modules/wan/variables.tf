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

variable "rate_mbit" {
  description = "Rate of every link each way in Mbit/s; null for no limit."
  type        = number
  default     = null

  validation {
    condition     = var.rate_mbit == null ? true : var.rate_mbit >= 1 && floor(var.rate_mbit) == var.rate_mbit
    error_message = "rate_mbit must be a whole number of Mbit/s, at least 1; leave it out for no limit."
  }
}
