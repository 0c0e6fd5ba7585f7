# Three sites with two agent hosts each, a WAN link between every two, and the host that watches.

provider "dwcp" {
  env       = var.env
  state_dir = var.state_dir
  runtime   = var.runtime
}

locals {
  ops_home = sort(keys(var.sites))[0]
}

module "site" {
  source   = "../../modules/site"
  for_each = var.sites

  env          = var.env
  site         = each.key
  cidr         = each.value
  remote_cidrs = sort([for name, cidr in var.sites : cidr if name != each.key])
  agents       = var.agents_per_site
  image        = var.image
  memory_mb    = var.memory_mb
}

module "ops" {
  source = "../../modules/ops"

  env       = var.env
  site      = local.ops_home
  home      = module.site[local.ops_home].network
  networks  = { for name, cidr in var.sites : module.site[name].network => cidr }
  image     = var.image
  memory_mb = var.memory_mb
}

module "wan" {
  source = "../../modules/wan"

  sites = { for name, cidr in var.sites : name => { network = module.site[name].network, cidr = cidr } }
  link  = var.link
}
