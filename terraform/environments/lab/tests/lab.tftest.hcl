mock_provider "dwcp" {}

variables {
  state_dir = "/nowhere"
  image     = "localhost/host:1"
}

run "three_sites_of_two_and_ops" {
  command = apply

  assert {
    condition = [for host in output.hosts : "${host.name} ${host.address}"] == [
      "dwcp-lab-ams-1 10.77.1.11", "dwcp-lab-ams-2 10.77.1.12",
      "dwcp-lab-nyc-1 10.77.2.11", "dwcp-lab-nyc-2 10.77.2.12",
      "dwcp-lab-ops 10.77.1.10",
      "dwcp-lab-sgp-1 10.77.3.11", "dwcp-lab-sgp-2 10.77.3.12",
    ]
    error_message = "the lab's hosts and addresses are fixed"
  }
  assert {
    condition     = length([for host in output.hosts : host if host.gateway]) == 3 && length([for host in output.hosts : host if host.load]) == 3
    error_message = "one gateway and one load client a site"
  }
}

run "two_sites_with_one_network_are_refused" {
  command = plan

  variables {
    sites = { ams = "10.77.1.0/24", nyc = "10.77.1.0/24" }
  }

  expect_failures = [var.sites]
}
