-- name: lock_accounts
SELECT credit_lock_accounts($1::bigint[])

-- name: open_account
INSERT INTO credit_accounts (kind, customer, currency, limit_minor) VALUES ($1, $2, $3, $4)
ON CONFLICT (customer, kind, currency) DO NOTHING

-- name: account_of
SELECT account_id FROM credit_accounts WHERE customer = $2 AND kind = $1 AND currency = $3

-- name: add_journal
INSERT INTO credit_journals (event, reference, actor, reason, created_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (event, reference) DO NOTHING
RETURNING journal_id

-- name: add_entries
-- All of a journal at once: they are checked together.
INSERT INTO credit_entries (journal_id, line, account_kind, account_id, amount_minor, currency)
SELECT $1, e.line, e.kind, e.account_id, e.amount, e.currency
FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[]) WITH ORDINALITY
    AS e (kind, account_id, amount, currency, line)
