-- name: add_card_account
INSERT INTO credit_accounts (kind, currency) VALUES ('gift_card', $1) RETURNING account_id

-- name: add_gift_card
INSERT INTO gift_cards (account_id, code_hash, last_four, amount_minor, origin, expires_at, issued_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: gift_card
SELECT a.account_id, c.last_four, c.amount_minor, a.balance_minor, a.held_minor, a.currency,
       c.origin, c.issued_at, c.expires_at, c.blocked_at
FROM gift_cards c JOIN credit_accounts a USING (account_id)
WHERE c.code_hash = $1 OR c.account_id = $2

-- name: block_gift_card
UPDATE gift_cards SET blocked_at = CASE WHEN $2 THEN coalesce(blocked_at, $3) END
WHERE account_id = $1
RETURNING account_id

-- name: balance
SELECT balance_minor FROM credit_accounts WHERE account_id = $1

-- name: set_limit
UPDATE credit_accounts SET limit_minor = $2 WHERE account_id = $1

-- name: set_terms
INSERT INTO credit_terms (account_id, approved, net_days, actor, updated_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (account_id) DO UPDATE
SET approved = excluded.approved, net_days = excluded.net_days, actor = excluded.actor,
    updated_at = excluded.updated_at

-- name: store_credit_of
SELECT currency, balance_minor, held_minor FROM credit_accounts
WHERE customer = $1 AND kind = 'store_credit' ORDER BY currency

-- name: terms_of
SELECT a.currency, a.limit_minor, a.balance_minor, a.held_minor, t.approved, t.net_days
FROM credit_accounts a JOIN credit_terms t USING (account_id)
WHERE a.customer = $1 AND a.kind = 'receivable' ORDER BY a.currency

-- name: invoices
-- $1: of this customer, or none for all; $2: open, overdue (due before $3), settled or all.
SELECT i.number, i.transaction_id, p.order_id, a.customer, a.currency, i.amount_minor, i.paid_minor,
       i.credited_minor, i.written_off_minor, i.open_minor, i.issued_at, i.due_on
FROM credit_invoices i
JOIN credit_accounts a USING (account_id)
LEFT JOIN payments p USING (transaction_id)
WHERE ($1::text IS NULL OR a.customer = $1)
  AND CASE $2 WHEN 'open' THEN i.open_minor > 0
              WHEN 'overdue' THEN i.open_minor > 0 AND i.due_on < $3
              WHEN 'settled' THEN i.open_minor = 0
              ELSE true END
ORDER BY i.due_on, i.number LIMIT $4

-- name: account_of_invoice
SELECT account_id FROM credit_invoices WHERE number = $1

-- name: currency_of_invoice
SELECT a.currency FROM credit_invoices i JOIN credit_accounts a USING (account_id)
WHERE i.number = $1

-- name: invoice_to_settle
SELECT i.open_minor, a.currency FROM credit_invoices i JOIN credit_accounts a USING (account_id)
WHERE i.number = $1 FOR UPDATE OF i

-- name: was_posted
SELECT EXISTS (SELECT FROM credit_journals WHERE event = $1 AND reference = $2)

-- name: settle_invoice
UPDATE credit_invoices
SET paid_minor = paid_minor + $2, written_off_minor = written_off_minor + $3
WHERE number = $1

-- name: forget_attempts
DELETE FROM credit_code_attempts WHERE customer IN (
    SELECT customer FROM credit_code_attempts WHERE window_start <= $1
    ORDER BY window_start LIMIT $2 FOR UPDATE SKIP LOCKED)

-- name: count_attempt
-- A window that is over begins anew.
INSERT INTO credit_code_attempts AS c (customer, window_start, attempts) VALUES ($1, $2, 1)
ON CONFLICT (customer) DO UPDATE
SET attempts = CASE WHEN c.window_start <= $3 THEN 1 ELSE c.attempts + 1 END,
    window_start = CASE WHEN c.window_start <= $3 THEN $2 ELSE c.window_start END
RETURNING attempts, window_start
