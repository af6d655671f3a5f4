-- name: lock_customer
-- One change of a customer's means of payment at a time: how many there are and which is the
-- default is true until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('payment_methods ' || $1::uuid::text, 0))

-- name: of_customer
SELECT * FROM payment_methods WHERE user_id = $1 ORDER BY is_default DESC, method_id DESC

-- name: load_many
SELECT w.position, m.*
FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS w (user_id, method_id, position)
JOIN payment_methods m USING (user_id, method_id)

-- name: has_room
-- Room for one more, or this one is there already.
SELECT count(*) < $4 OR bool_or(gateway = $2 AND token = $3)
FROM payment_methods WHERE user_id = $1

-- name: clear_default
-- In a statement of its own: two defaults are never there, not even within one.
UPDATE payment_methods SET is_default = false WHERE user_id = $1 AND is_default

-- name: add
-- What is there already has its newest details, and stays the default if it is.
INSERT INTO payment_methods (method_id, user_id, type, gateway, token, customer, brand, last_four,
                             expiry_month, expiry_year, is_default)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
       NOT EXISTS (SELECT FROM payment_methods WHERE user_id = $2 AND is_default)
ON CONFLICT ON CONSTRAINT one_method_per_token DO UPDATE SET
    type = excluded.type, customer = excluded.customer, brand = excluded.brand,
    last_four = excluded.last_four, expiry_month = excluded.expiry_month,
    expiry_year = excluded.expiry_year,
    is_default = payment_methods.is_default OR excluded.is_default
RETURNING *

-- name: find
SELECT * FROM payment_methods WHERE user_id = $1 AND method_id = $2

-- name: set_default
UPDATE payment_methods SET is_default = true WHERE user_id = $1 AND method_id = $2 RETURNING *

-- name: keep_attached
-- Whoever saves again what was removed a moment ago wants to keep it.
DELETE FROM removed_payment_methods WHERE user_id = $1 AND gateway = $2 AND token = $3

-- name: remove
WITH removed AS (
    DELETE FROM payment_methods WHERE user_id = $1 AND method_id = $2
    RETURNING method_id, user_id, gateway, token
), told AS (
    INSERT INTO removed_payment_methods (user_id, gateway, token)
    SELECT user_id, gateway, token FROM removed
    ON CONFLICT (user_id, gateway, token) DO UPDATE
    SET removed_at = excluded.removed_at, looked_at = excluded.looked_at
)
SELECT method_id FROM removed

-- name: due_for_detaching
-- An order that is under way may yet be charged with it: it waits for that order's end.
WITH due AS (
    SELECT m.user_id, m.gateway, m.token FROM removed_payment_methods m
    WHERE m.looked_at < $1 AND m.gateway = ANY ($2::text[])
      AND NOT EXISTS (
          SELECT FROM orders o JOIN payments p USING (order_id)
          WHERE o.user_id = m.user_id AND o.status = ANY ($4::order_status[])
            AND p.gateway = m.gateway AND p.payment_token = m.token)
    ORDER BY m.looked_at LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE removed_payment_methods m SET looked_at = now() FROM due
WHERE (m.user_id, m.gateway, m.token) = (due.user_id, due.gateway, due.token)
RETURNING m.user_id, m.gateway, m.token, m.removed_at

-- name: detached
-- Unless it was saved and removed again meanwhile.
DELETE FROM removed_payment_methods
WHERE user_id = $1 AND gateway = $2 AND token = $3 AND removed_at = $4

-- name: newest_is_default
-- If there is no other.
UPDATE payment_methods SET is_default = true
WHERE method_id = (SELECT method_id FROM payment_methods WHERE user_id = $1
                   ORDER BY created_at DESC, method_id DESC LIMIT 1)
  AND NOT EXISTS (SELECT FROM payment_methods WHERE user_id = $1 AND is_default)
