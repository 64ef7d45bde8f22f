"""What the hosts of package formats share: where a request goes, who asks and may do what, what a body becomes."""
