-- name: revoke
INSERT INTO operator_revocations (name, issued_to, revoked_by, reason) VALUES ($1, $2, $3, $4)
ON CONFLICT (name, issued_to) DO NOTHING

-- name: is_revoked
SELECT EXISTS (SELECT FROM operator_revocations WHERE name = $1 AND issued_to >= $2)

-- name: list
SELECT name, issued_to, revoked_by, reason FROM operator_revocations
ORDER BY issued_to DESC, name LIMIT $1
