terraform {
  required_version = ">= 1.6"

  required_providers {
    dwcp = {
      source  = "golive.internal/dwcp/dwcp"
      version = ">= 0.1.0"
    }
  }
}
