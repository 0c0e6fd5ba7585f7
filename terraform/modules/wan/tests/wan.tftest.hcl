mock_provider "dwcp" {}

variables {
  sites = {
    ams = { network = "n-ams", cidr = "10.77.1.0/24" }
    nyc = { network = "n-nyc", cidr = "10.77.2.0/24" }
    sgp = { network = "n-sgp", cidr = "10.77.3.0/24" }
  }
}

run "every_two_sites_have_a_link_with_addresses_of_its_own" {
  command = apply

  assert {
    condition     = join(",", output.links) == "ams-nyc,ams-sgp,nyc-sgp"
    error_message = "three sites have three links"
  }
  assert {
    condition     = length(distinct([for link in dwcp_wan_link.this : link.transit])) == 3
    error_message = "each link has a /31 of its own"
  }
}

run "one_site_has_no_link" {
  command = apply

  variables {
    sites = { ams = { network = "n-ams", cidr = "10.77.1.0/24" } }
  }

  assert {
    condition     = length(output.links) == 0
    error_message = "one site needs no link"
  }
}

run "a_rate_below_one_is_refused" {
  command = plan

  variables {
    link = { rate_mbit = 0.5 }
  }

  expect_failures = [var.link]
}

run "more_jitter_than_delay_is_refused" {
  command = plan

  variables {
    link = { rtt_ms = 10, jitter_ms = 6 }
  }

  expect_failures = [var.link]
}

run "links_do_what_is_asked_and_nothing_more" {
  command = apply

  variables {
    link = { rtt_ms = 40, rate_mbit = 200, loss_percent = 0.5 }
  }

  assert {
    condition     = alltrue([for link in dwcp_wan_link.this : link.rtt_ms == 40 && link.rate_mbit == 200 && link.loss_percent == 0.5])
    error_message = "every link has the delay, rate and loss asked for"
  }
  assert {
    condition     = alltrue([for link in dwcp_wan_link.this : link.jitter_ms == null && link.queue_kb == null])
    error_message = "what was not asked for is absent"
  }
}
