"""The Terraform provider ``dwcp``: networks, hosts and WAN links of the lab, and machines that exist already."""
