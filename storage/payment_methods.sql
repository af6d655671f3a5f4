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

-- name: remove
DELETE FROM payment_methods WHERE user_id = $1 AND method_id = $2 RETURNING method_id

-- name: newest_is_default
-- If there is no other.
UPDATE payment_methods SET is_default = true
WHERE method_id = (SELECT method_id FROM payment_methods WHERE user_id = $1
                   ORDER BY created_at DESC, method_id DESC LIMIT 1)
  AND NOT EXISTS (SELECT FROM payment_methods WHERE user_id = $1 AND is_default)
