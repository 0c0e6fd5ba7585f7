mock_provider "dwcp" {}

variables {
  env      = "lab"
  site     = "ams"
  home     = "dwcp-lab-ams"
  networks = { "dwcp-lab-ams" = "10.77.1.0/24", "dwcp-lab-nyc" = "10.77.2.0/24" }
  image    = "localhost/host:1"
}

run "stands_in_every_network_at_10" {
  command = apply

  assert {
    condition     = output.hosts[0].address == "10.77.1.10" && output.hosts[0].addresses == ["10.77.1.10", "10.77.2.10"]
    error_message = "ops has .10 in every site's network; the operator uses that of its home"
  }
  assert {
    condition     = output.hosts[0].role == "ops" && !output.hosts[0].gateway && !output.hosts[0].load
    error_message = "ops is neither agent nor gateway nor load client"
  }
}

run "a_host_without_a_network_is_refused" {
  command = plan

  variables {
    networks = {}
    home     = ""
  }

  expect_failures = [var.networks]
}
