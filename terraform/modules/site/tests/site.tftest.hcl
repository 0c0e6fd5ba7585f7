mock_provider "dwcp" {}

variables {
  env   = "lab"
  site  = "ams"
  cidr  = "10.77.1.0/24"
  image = "localhost/host:1"
}

run "two_hosts_with_fixed_names_addresses_and_parts" {
  command = apply

  assert {
    condition     = [for host in output.hosts : "${host.name} ${host.address}"] == ["dwcp-lab-ams-1 10.77.1.11", "dwcp-lab-ams-2 10.77.1.12"]
    error_message = "host n of a site is dwcp-<env>-<site>-<n> at .1n"
  }
  assert {
    condition     = [for host in output.hosts : host.gateway] == [true, false] && [for host in output.hosts : host.load] == [false, true]
    error_message = "host 1 is the gateway, host 2 runs the load client"
  }
}

run "a_single_host_is_gateway_and_load_client" {
  command = apply

  variables {
    agents = 1
  }

  assert {
    condition     = length(output.hosts) == 1 && output.hosts[0].gateway && output.hosts[0].load
    error_message = "a site with one host needs both on it"
  }
}

run "other_sites_are_reached_through_the_router" {
  command = plan

  variables {
    remote_cidrs = ["10.77.2.0/24"]
  }

  assert {
    condition     = dwcp_host.agent["dwcp-lab-ams-1"].routes == tomap({ "10.77.2.0/24" = "10.77.1.254" })
    error_message = "routes to other sites go by .254"
  }
}

run "a_cidr_that_is_no_24_is_refused" {
  command = plan

  variables {
    cidr = "10.77.0.0/16"
  }

  expect_failures = [var.cidr]
}

run "a_name_that_cannot_be_a_host_name_is_refused" {
  command = plan

  variables {
    site = "Amsterdam 1"
  }

  expect_failures = [var.site]
}

run "more_hosts_than_the_addresses_hold_are_refused" {
  command = plan

  variables {
    agents = 90
  }

  expect_failures = [var.agents]
}
