package auth

// ownLike has nothing to do: files get the rights of their directory.
func ownLike(string, string) error { return nil }
