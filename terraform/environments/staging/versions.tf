terraform {
  required_version = ">= 1.6"

  required_providers {
    dwcp = {
      source  = "golive.internal/dwcp/dwcp"
      version = ">= 0.1.0"
    }
  }
}

# The path is given by the toolkit: one state per environment, outside the checkout's tracked files.
terraform {
  backend "local" {}
}
