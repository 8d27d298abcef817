"""What a run leaves on disk (`runs`), and the page that shows it (`report`)."""
