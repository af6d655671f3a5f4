-- name: authorize
SELECT * FROM credit_authorize($1, $2, $3, $4, $5, $6, $7)

-- name: foresee
-- Why charges could not be held now, of the first one that could not. Holds nothing.
SELECT coalesce(refusal, CASE kind WHEN 'invoice' THEN 'credit_limit_exceeded'
                                   ELSE 'insufficient_credit' END)
FROM (SELECT id, kind, refusal,
             sum(amount) OVER (PARTITION BY account_id ORDER BY id) > free AS too_much
        FROM credit_sources($1, $2, $3, $4, $5, $6, $7)) s
WHERE refusal IS NOT NULL OR too_much
ORDER BY id LIMIT 1

-- name: capture
SELECT * FROM credit_capture($1, $2)

-- name: tombstone
-- In the order of their ids, as charges are made.
INSERT INTO credit_charges
    (transaction_id, kind, amount_minor, currency, status, created_at, updated_at)
SELECT q.id, q.kind, q.amount, q.currency, 'voided', $5, $5
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) AS q (id, kind, amount, currency)
ORDER BY q.id
ON CONFLICT (transaction_id) DO NOTHING

-- name: void
SELECT * FROM credit_void($1, $2)

-- name: lookup
SELECT * FROM credit_charges WHERE transaction_id = $1

-- name: all_charges
SELECT transaction_id, amount_minor, currency, status, refunded_minor FROM credit_charges

-- name: account_of_charge
SELECT c.kind, c.account_id, a.customer, a.currency
FROM credit_charges c JOIN credit_accounts a USING (account_id) WHERE c.transaction_id = $1

-- name: charge_to_refund
SELECT * FROM credit_charges WHERE transaction_id = $1 FOR UPDATE

-- name: refund_by_id
SELECT transaction_id FROM credit_refunds WHERE refund_id = $1

-- name: invoice_to_refund
SELECT amount_minor, paid_minor, written_off_minor, credited_minor
FROM credit_invoices WHERE transaction_id = $1 FOR UPDATE

-- name: credit_invoice
UPDATE credit_invoices
SET credited_minor = credited_minor + $2 + $3, written_off_minor = written_off_minor - $3
WHERE transaction_id = $1

-- name: add_refund
INSERT INTO credit_refunds (refund_id, transaction_id, amount_minor, journal_id, created_at)
VALUES ($1, $2, $3, $4, $5)

-- name: note_refunded
UPDATE credit_charges
SET refunded_minor = refunded_minor + $2, updated_at = $3,
    status = CASE WHEN refunded_minor + $2 = amount_minor THEN 'refunded' ELSE status END
WHERE transaction_id = $1
RETURNING *

-- The audit's questions: each answers with violations, at most $1 of them, and their number.

-- name: audit_journals
SELECT format('journal %s (%s of %s) does not sum to zero: %s %s are left over',
              journal_id, j.event, j.reference, coalesce(sum(e.amount_minor), 0),
              coalesce(e.currency, 'entries')) AS violation,
       count(*) OVER () AS total
  FROM credit_journals j LEFT JOIN credit_entries e USING (journal_id)
 GROUP BY journal_id, j.event, j.reference, e.currency
HAVING sum(e.amount_minor) IS DISTINCT FROM 0
 ORDER BY violation LIMIT $1

-- name: audit_postings
-- $2: which accounts each event may debit and credit, from domain/ledger.py.
SELECT format('journal %s: %s of %s posts %s minor units to %s, which it may not',
              journal_id, j.event, j.reference, e.amount_minor, e.account_kind) AS violation,
       count(*) OVER () AS total
  FROM credit_journals j JOIN credit_entries e USING (journal_id)
 WHERE j.event || CASE WHEN e.amount_minor > 0 THEN '/debit/' ELSE '/credit/' END || e.account_kind
       <> ALL ($2::text[])
 ORDER BY violation LIMIT $1

-- name: audit_balances
WITH counted AS (
    SELECT account_id, sum(amount_minor) AS amount FROM credit_entries
     WHERE account_id IS NOT NULL GROUP BY account_id
), books AS (
    SELECT a.account_id, a.kind, a.currency, a.balance_minor,
           coalesce(c.amount, 0) * CASE a.kind WHEN 'receivable' THEN 1 ELSE -1 END AS entries
      FROM credit_accounts a LEFT JOIN counted c USING (account_id)
)
SELECT format('account %s (%s) says %s %s, but its entries come to %s',
              account_id, kind, balance_minor, currency, entries) AS violation,
       count(*) OVER () AS total
  FROM books WHERE balance_minor <> entries
 ORDER BY violation LIMIT $1

-- name: audit_holds
WITH held AS (
    SELECT account_id, sum(amount_minor) AS amount FROM credit_charges
     WHERE status = 'authorized' GROUP BY account_id
)
SELECT format('account %s (%s) says %s held, but its open charges hold %s',
              a.account_id, a.kind, a.held_minor, coalesce(h.amount, 0)) AS violation,
       count(*) OVER () AS total
  FROM credit_accounts a LEFT JOIN held h USING (account_id)
 WHERE a.held_minor <> coalesce(h.amount, 0)
 ORDER BY violation LIMIT $1

-- name: audit_bounds
SELECT format('account %s (%s) has balance %s, held %s and limit %s: overspent',
              account_id, kind, balance_minor, held_minor, coalesce(limit_minor::text, 'none'))
           AS violation,
       count(*) OVER () AS total
  FROM credit_accounts
 WHERE balance_minor < 0 OR held_minor < 0
    OR CASE kind WHEN 'receivable' THEN balance_minor + held_minor > limit_minor
                 ELSE held_minor > balance_minor END
 ORDER BY violation LIMIT $1

-- name: audit_guards
-- What keeps the ledger by itself must be there and in force.
SELECT format('%s of the ledger is missing or not enforced: add it back', wanted) AS violation,
       count(*) OVER () AS total
  FROM unnest(ARRAY['credit_never_below_zero', 'credit_never_overspent',
                    'credit_never_refunded_above', 'credit_event_posted_once',
                    'credit_invoice_never_overpaid', 'credit_entries_posted',
                    'credit_entries_stay', 'credit_journals_stay']) AS wanted
 WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conname = wanted AND convalidated)
   AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgname = wanted AND tgenabled <> 'D')
 ORDER BY violation LIMIT $1

-- name: audit_captures
-- What a charge took is posted to its account, once; and nothing is posted without a charge.
WITH posted AS (
    SELECT j.reference AS transaction_id, sum(abs(e.amount_minor)) AS amount,
           min(e.account_id) AS account_id, min(e.currency) AS currency
      FROM credit_journals j JOIN credit_entries e USING (journal_id)
     WHERE j.event IN ('captured', 'invoice_issued') AND e.account_id IS NOT NULL
     GROUP BY j.reference
), taken AS (
    SELECT * FROM credit_charges WHERE status IN ('captured', 'refunded') AND amount_minor > 0
)
SELECT format('charge %s took %s %s from account %s, the ledger has %s %s from account %s',
              transaction_id, coalesce(c.amount_minor, 0), c.currency, c.account_id,
              coalesce(p.amount, 0), p.currency, p.account_id) AS violation,
       count(*) OVER () AS total
  FROM taken c FULL JOIN posted p USING (transaction_id)
 WHERE c.amount_minor IS DISTINCT FROM p.amount OR c.account_id IS DISTINCT FROM p.account_id
    OR c.currency IS DISTINCT FROM p.currency
 ORDER BY violation LIMIT $1

-- name: audit_refunds
WITH given AS (
    SELECT r.transaction_id, sum(r.amount_minor) AS amount, sum(d.amount) AS posted
      FROM credit_refunds r
      LEFT JOIN (SELECT journal_id, sum(amount_minor) AS amount FROM credit_entries
                  WHERE account_kind = 'sales' GROUP BY journal_id) d USING (journal_id)
     GROUP BY r.transaction_id
)
SELECT format('charge %s says %s of %s refunded, its refunds come to %s and the ledger to %s',
              transaction_id, c.refunded_minor, c.amount_minor, coalesce(g.amount, 0),
              coalesce(g.posted, 0)) AS violation,
       count(*) OVER () AS total
  FROM credit_charges c LEFT JOIN given g USING (transaction_id)
 WHERE c.refunded_minor <> coalesce(g.amount, 0) OR c.refunded_minor <> coalesce(g.posted, 0)
 ORDER BY violation LIMIT $1

-- name: audit_invoices
WITH owed AS (
    SELECT account_id, sum(open_minor) AS amount FROM credit_invoices GROUP BY account_id
)
SELECT format('customer %s owes %s %s, but the open invoices come to %s',
              a.customer, a.balance_minor, a.currency, coalesce(o.amount, 0)) AS violation,
       count(*) OVER () AS total
  FROM credit_accounts a LEFT JOIN owed o USING (account_id)
 WHERE a.kind = 'receivable' AND a.balance_minor <> coalesce(o.amount, 0)
 ORDER BY violation LIMIT $1

-- name: audit_invoice_numbers
SELECT format('%s invoices were numbered up to %s, the last number given is %s',
              count(i.number), coalesce(max(i.number), 0), n.last) AS violation,
       1::bigint AS total
  FROM credit_invoice_numbers n LEFT JOIN credit_invoices i ON true
 GROUP BY n.last
HAVING count(i.number) <> n.last OR coalesce(max(i.number), 0) <> n.last
 LIMIT $1

-- name: audit_payments
-- The payment is written before the first call, and the ledger is in the same snapshot: no grace.
SELECT format('charge %s took %s %s, its payment says %s %s (%s)', c.transaction_id,
              c.amount_minor, c.currency, p.amount_minor, p.currency,
              coalesce(p.status::text, 'there is none')) AS violation,
       count(*) OVER () AS total
  FROM credit_charges c LEFT JOIN payments p ON p.transaction_id = c.transaction_id AND p.gateway = $2
 WHERE c.status IN ('captured', 'refunded')
   AND (p.transaction_id IS NULL OR p.amount_minor <> c.amount_minor
        OR p.currency::text <> c.currency)
 ORDER BY violation LIMIT $1

-- name: audit_orders
SELECT format('order %s is %s and its payment %s captured, but the ledger says %s',
              o.order_id, o.status, p.transaction_id, coalesce(c.status, 'nothing')) AS violation,
       count(*) OVER () AS total
  FROM payments p
  JOIN orders o USING (order_id)
  LEFT JOIN credit_charges c USING (transaction_id)
 WHERE p.gateway = $2 AND p.status::text = 'captured' AND o.status = ANY ($3::order_status[])
   AND (c.status IS NULL OR c.status NOT IN ('captured', 'refunded'))
 ORDER BY violation LIMIT $1
