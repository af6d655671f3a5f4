-- name: page
SELECT p.transaction_id, p.amount_minor, p.currency, p.payment_token, p.payment_method,
       p.customer, p.return_url, o.user_id, o.created_at
FROM payments p JOIN orders o USING (order_id)
WHERE p.gateway = $1 AND p.transaction_id > $2
ORDER BY p.transaction_id LIMIT $3

-- name: on_record
SELECT transaction_id FROM payments WHERE gateway = $1 AND transaction_id = ANY ($2::text[])
