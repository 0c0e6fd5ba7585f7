output "links" {
  description = "Names of the links, as in ams-nyc."
  value       = sort(keys(dwcp_wan_link.this))
}
