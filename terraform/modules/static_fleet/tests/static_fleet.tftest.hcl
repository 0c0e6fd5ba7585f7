mock_provider "dwcp" {
  mock_resource "dwcp_static_host" {
    defaults = {
      reachable = false
      reason    = "does not answer"
    }
  }
}

variables {
  hosts = [
    { name = "fra-1", site = "fra", address = "192.0.2.11", role = "agent", gateway = true, host_key = "ssh-ed25519 AAAA" },
    { name = "ops", site = "fra", address = "192.0.2.10", role = "ops", ssh_port = 2222, host_key = "ssh-ed25519 AAAB" },
  ]
}

run "machines_pass_through_and_an_unreachable_one_does_not_fail" {
  command = apply

  assert {
    condition     = [for host in output.hosts : host.ssh_port] == [22, 2222] && output.hosts[0].gateway
    error_message = "what is written about a machine is what the fleet gets, with defaults filled in"
  }
  assert {
    condition     = alltrue([for name in ["fra-1", "ops"] : output.facts[name].reachable == false && output.facts[name].reason == "does not answer"])
    error_message = "reachable is a fact about the machine"
  }
}

run "a_bastion_and_labels_pass_through_and_the_machine_is_looked_at_through_it" {
  command = apply

  variables {
    hosts = [
      { name = "ops", site = "fra", address = "192.0.2.10", role = "ops", host_key = "ssh-ed25519 AAAB", labels = { canary = "true" }, cache = true,
      bastion = { name = "jump", address = "jump.example.net", ssh_user = "hop", ssh_port = 2222, host_key = "ssh-ed25519 AAAC" } },
    ]
  }

  assert {
    condition     = dwcp_static_host.this["ops"].bastion == "hop@jump.example.net:2222 ssh-ed25519 AAAC"
    error_message = "the provider is told whom to go through, and by which key"
  }
  assert {
    condition     = output.hosts[0].bastion.name == "jump" && output.hosts[0].labels.canary == "true" && output.hosts[0].cache
    error_message = "what is written about a machine is what the fleet gets"
  }
}

run "an_empty_list_is_refused" {
  command = plan

  variables {
    hosts = []
  }

  expect_failures = [var.hosts]
}

run "two_of_a_name_are_refused" {
  command = plan

  variables {
    hosts = [
      { name = "a", site = "fra", address = "192.0.2.11", role = "ops", host_key = "ssh-ed25519 AAAA" },
      { name = "a", site = "fra", address = "192.0.2.12", role = "agent", host_key = "ssh-ed25519 AAAA" },
    ]
  }

  expect_failures = [var.hosts]
}

run "a_fleet_without_ops_is_refused" {
  command = plan

  variables {
    hosts = [{ name = "a", site = "fra", address = "192.0.2.11", role = "agent", host_key = "ssh-ed25519 AAAA" }]
  }

  expect_failures = [var.hosts]
}

run "a_fingerprint_in_place_of_a_key_is_refused" {
  command = plan

  variables {
    hosts = [{ name = "a", site = "fra", address = "192.0.2.11", role = "ops", host_key = "SHA256:abc" }]
  }

  expect_failures = [var.hosts]
}
