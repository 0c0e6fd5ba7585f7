# Machines of yours, adopted as they are; they are listed in inventories/prod/hosts.yaml.

provider "dwcp" {
  env       = var.env
  state_dir = var.state_dir
}

module "fleet" {
  source = "../../modules/static_fleet"

  hosts = var.hosts
}
