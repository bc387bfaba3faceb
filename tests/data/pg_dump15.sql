-- A database of PostgreSQL 15 as `pg_dump --schema-only` wrote it, without its comments.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA sales;
ALTER SCHEMA sales OWNER TO shopkeeper;
COMMENT ON SCHEMA sales IS 'What is sold';
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.customers (
    id integer NOT NULL,
    email character varying(200) NOT NULL,
    name text DEFAULT 'nobody'::text NOT NULL,
    joined timestamp with time zone DEFAULT now(),
    tags text[],
    profile jsonb DEFAULT '{}'::jsonb,
    CONSTRAINT customers_email_check CHECK ((POSITION(('@'::text) IN (email)) > 1))
);
ALTER TABLE public.customers OWNER TO shopkeeper;
COMMENT ON TABLE public.customers IS 'Who buys';
COMMENT ON COLUMN public.customers.email IS 'One''s address';
COMMENT ON CONSTRAINT customers_email_check ON public.customers IS 'has an @';
ALTER TABLE public.customers ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.customers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE SEQUENCE public.invoice_numbers
    START WITH 1000
    INCREMENT BY 5
    NO MINVALUE
    MAXVALUE 99999
    CACHE 1
    CYCLE;
ALTER TABLE public.invoice_numbers OWNER TO shopkeeper;
COMMENT ON SEQUENCE public.invoice_numbers IS 'of invoices';
CREATE TABLE sales.products (
    sku text NOT NULL,
    price numeric(10,2) NOT NULL,
    tax numeric(10,2) GENERATED ALWAYS AS ((price * 0.19)) STORED,
    weight double precision,
    added date DEFAULT CURRENT_DATE,
    code character(3),
    CONSTRAINT products_price_check CHECK (((price >= (0)::numeric) AND (price < (100000)::numeric)))
);
ALTER TABLE sales.products OWNER TO shopkeeper;
CREATE VIEW public.names AS
 WITH c AS (
         SELECT customers.name
           FROM public.customers
        )
 SELECT c.name
   FROM c
UNION ALL
 SELECT products.sku AS name
   FROM sales.products;
ALTER TABLE public.names OWNER TO shopkeeper;
CREATE TABLE sales.orders (
    id bigint NOT NULL,
    customer_id integer NOT NULL,
    placed_at timestamp without time zone DEFAULT now() NOT NULL,
    status text DEFAULT 'new'::text NOT NULL,
    note text,
    CONSTRAINT orders_status_check CHECK ((status = ANY (ARRAY['new'::text, 'paid'::text, 'sent'::text])))
);
ALTER TABLE ONLY sales.orders ALTER COLUMN note SET STATISTICS 500;
ALTER TABLE sales.orders OWNER TO shopkeeper;
CREATE VIEW public.recent AS
 SELECT orders.id,
    orders.status,
        CASE
            WHEN (orders.note IS NULL) THEN 'none'::text
            ELSE upper(orders.note)
        END AS note,
    (orders.placed_at)::date AS day,
    EXTRACT(year FROM orders.placed_at) AS year,
    (orders.note ~ '^x'::text) AS x,
    (orders.note ~~ 'a%'::text) AS a,
    (COALESCE(orders.note, 'b'::text) || orders.status) AS c,
    (orders.id = ANY (ARRAY[(1)::bigint, (2)::bigint, (3)::bigint])) AS few
   FROM sales.orders
  WHERE (orders.placed_at > (now() - '7 days'::interval))
  ORDER BY orders.placed_at DESC
 LIMIT 10;
ALTER TABLE public.recent OWNER TO shopkeeper;
CREATE TABLE sales.lines (
    order_id bigint NOT NULL,
    line_no smallint NOT NULL,
    sku text,
    quantity integer DEFAULT 1 NOT NULL
);
ALTER TABLE sales.lines OWNER TO shopkeeper;
CREATE SEQUENCE sales.orders_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER TABLE sales.orders_id_seq OWNER TO shopkeeper;
ALTER SEQUENCE sales.orders_id_seq OWNED BY sales.orders.id;
CREATE VIEW sales.totals AS
 SELECT o.id,
    c.name,
    sum(((l.quantity)::numeric * p.price)) AS total,
    count(*) FILTER (WHERE (l.quantity > 1)) AS bulk
   FROM (((sales.orders o
     JOIN public.customers c ON ((c.id = o.customer_id)))
     LEFT JOIN sales.lines l ON ((l.order_id = o.id)))
     LEFT JOIN sales.products p USING (sku))
  WHERE (o.status <> 'new'::text)
  GROUP BY o.id, c.name
 HAVING (count(*) > 0);
ALTER TABLE sales.totals OWNER TO shopkeeper;
COMMENT ON VIEW sales.totals IS 'What an order costs';
ALTER TABLE ONLY sales.orders ALTER COLUMN id SET DEFAULT nextval('sales.orders_id_seq'::regclass);
ALTER TABLE ONLY public.customers
    ADD CONSTRAINT customers_email_key UNIQUE (email);
ALTER TABLE ONLY public.customers
    ADD CONSTRAINT customers_pkey PRIMARY KEY (id);
ALTER TABLE ONLY sales.lines
    ADD CONSTRAINT lines_pkey PRIMARY KEY (order_id, line_no);
ALTER TABLE ONLY sales.orders
    ADD CONSTRAINT orders_customer_id_placed_at_key UNIQUE (customer_id, placed_at);
ALTER TABLE ONLY sales.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (id);
ALTER TABLE ONLY sales.products
    ADD CONSTRAINT products_pkey PRIMARY KEY (sku);
ALTER TABLE sales.products CLUSTER ON products_pkey;
CREATE INDEX orders_placed_idx ON sales.orders USING btree (placed_at);
COMMENT ON INDEX sales.orders_placed_idx IS 'by time';
CREATE UNIQUE INDEX products_code_idx ON sales.products USING btree (code, sku);
ALTER TABLE ONLY sales.lines
    ADD CONSTRAINT lines_order_fkey FOREIGN KEY (order_id) REFERENCES sales.orders(id) ON UPDATE CASCADE ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY sales.lines
    ADD CONSTRAINT lines_sku_fkey FOREIGN KEY (sku) REFERENCES sales.products(sku) ON DELETE SET NULL;
ALTER TABLE ONLY sales.orders
    ADD CONSTRAINT orders_customer_id_fkey FOREIGN KEY (customer_id) REFERENCES public.customers(id) ON DELETE CASCADE;
GRANT USAGE ON SCHEMA sales TO reporting;
GRANT SELECT,INSERT ON TABLE public.customers TO reporting;
GRANT USAGE ON SEQUENCE public.invoice_numbers TO reporting;
GRANT SELECT ON TABLE public.recent TO PUBLIC;
GRANT SELECT ON TABLE sales.totals TO reporting;
