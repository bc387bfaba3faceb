// What a Java program does with the PostgreSQL JDBC driver. All of it holds for PostgreSQL 15 too,
// except the past. Run: java -cp postgresql.jar JdbcChecks.java "jdbc:postgresql://host:port/db?user=u"

import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.*;
import java.time.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class JdbcChecks {
    interface Check {
        void run(Connection c) throws Exception;
    }

    static String url;
    static int failed = 0, count = 0;

    static void check(String name, Check check) {
        count++;
        // The second time with binary transfer and server-side statements from the start.
        for (String options : new String[] {"", "&prepareThreshold=-1"}) {
            try (Connection c = DriverManager.getConnection(url + options)) {
                check.run(c);
            } catch (Throwable e) {
                failed++;
                System.out.println("FAILED  " + name + options + ": " + e);
                return;
            }
        }
        System.out.println("ok      " + name);
    }

    static void expect(Object got, Object wanted) {
        if (!Objects.equals(got, wanted)) {
            throw new AssertionError("got " + got + ", expected " + wanted);
        }
    }

    static Object one(Connection c, String sql, Object... parameters) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            for (int i = 0; i < parameters.length; i++) s.setObject(i + 1, parameters[i]);
            try (ResultSet r = s.executeQuery()) {
                r.next();
                return r.getObject(1);
            }
        }
    }

    static void run(Connection c, String... statements) throws SQLException {
        try (Statement s = c.createStatement()) {
            for (String sql : statements) s.execute(sql);
        }
    }

    static List<String> column(ResultSet r, String name) throws SQLException {
        List<String> values = new ArrayList<>();
        while (r.next()) values.add(r.getString(name));
        return values;
    }

    public static void main(String[] args) throws Exception {
        url = args[0];
        check("a value comes back", c -> expect(one(c, "SELECT 1"), 1));
        check("types go both ways", c -> {
            expect(one(c, "SELECT ?::int8", Long.MIN_VALUE), Long.MIN_VALUE);
            expect(one(c, "SELECT ?", 5), 5);
            expect(one(c, "SELECT ?::bool", true), true);
            expect(one(c, "SELECT ?::float8", 1e300), 1e300);
            expect(one(c, "SELECT ?::text", "žluťoučký 🐎"), "žluťoučký 🐎");
            expect(((BigDecimal) one(c, "SELECT ?::numeric(12,2)", new BigDecimal("-1.50")))
                .compareTo(new BigDecimal("-1.50")), 0);
            expect(one(c, "SELECT ?::date", java.sql.Date.valueOf("2026-11-21")),
                java.sql.Date.valueOf("2026-11-21"));
            Timestamp t = Timestamp.valueOf("2026-11-21 01:02:03.456789");
            expect(one(c, "SELECT ?::timestamp", t), t);
            expect(one(c, "SELECT ?::timestamptz", t), t);
            UUID u = UUID.randomUUID();
            expect(one(c, "SELECT ?::uuid", u), u);
            expect(one(c, "SELECT ?::jsonb", "{\"a\": 1}").toString(), "{\"a\": 1}");
            expect(Arrays.toString((byte[]) one(c, "SELECT ?::bytea", (Object) new byte[] {0, -1})),
                "[0, -1]");
            try (PreparedStatement s = c.prepareStatement("SELECT ?::timestamptz, ?::date")) {
                OffsetDateTime o = OffsetDateTime.of(2026, 11, 21, 1, 2, 3, 0, ZoneOffset.UTC);
                s.setObject(1, o);
                s.setObject(2, LocalDate.of(2000, 2, 29));
                ResultSet r = s.executeQuery();
                r.next();
                expect(r.getObject(1, OffsetDateTime.class), o);
                expect(r.getObject(2, LocalDate.class), LocalDate.of(2000, 2, 29));
            }
            expect(one(c, "SELECT ?::int", (Object) null), null);
        });
        check("arrays go both ways", c -> {
            try (PreparedStatement s = c.prepareStatement("SELECT ?::int[], ?::text[]")) {
                s.setArray(1, c.createArrayOf("int4", new Integer[] {1, null, 3}));
                s.setArray(2, c.createArrayOf("text", new String[] {"a", null, "x\"y,{"}));
                ResultSet r = s.executeQuery();
                r.next();
                expect(Arrays.asList((Object[]) r.getArray(1).getArray()), Arrays.asList(1, null, 3));
                expect(Arrays.asList((Object[]) r.getArray(2).getArray()),
                    Arrays.asList("a", null, "x\"y,{"));
            }
            try (PreparedStatement s = c.prepareStatement(
                    "SELECT count(*) FROM generate_series(1, 10) AS t(g) WHERE g = ANY(?)")) {
                s.setArray(1, c.createArrayOf("int4", new Integer[] {2, 4, 99}));
                ResultSet r = s.executeQuery();
                r.next();
                expect(r.getLong(1), 2L);
            }
        });
        check("a prepared statement runs again", c -> {
            run(c, "DROP TABLE IF EXISTS jdbc_prepared",
                "CREATE TABLE jdbc_prepared (id int PRIMARY KEY, v text, t timestamp)");
            try (PreparedStatement s = c.prepareStatement("INSERT INTO jdbc_prepared VALUES (?, ?, ?)")) {
                for (int i = 0; i < 12; i++) {
                    s.setInt(1, i);
                    s.setString(2, "v" + i);
                    s.setTimestamp(3, i % 2 == 0 ? null : Timestamp.valueOf("2026-01-01 00:00:00"));
                    expect(s.executeUpdate(), 1);
                }
            }
            try (PreparedStatement s = c.prepareStatement("SELECT v FROM jdbc_prepared WHERE id = ?")) {
                for (int i = 0; i < 12; i++) {
                    s.setInt(1, i);
                    ResultSet r = s.executeQuery();
                    r.next();
                    expect(r.getString(1), "v" + i);
                }
            }
        });
        check("a batch goes in at once", c -> {
            run(c, "DROP TABLE IF EXISTS jdbc_batch", "CREATE TABLE jdbc_batch (id int PRIMARY KEY, v text)");
            c.setAutoCommit(false);
            try (PreparedStatement s = c.prepareStatement("INSERT INTO jdbc_batch VALUES (?, ?)")) {
                for (int i = 0; i < 500; i++) {
                    s.setInt(1, i);
                    s.setString(2, "v" + i);
                    s.addBatch();
                }
                expect(Arrays.stream(s.executeBatch()).sum(), 500);
                c.commit();
                s.setInt(1, 1000);
                s.setString(2, "x");
                s.addBatch();
                s.setInt(1, 1);
                s.addBatch();
                try {
                    s.executeBatch();
                    throw new AssertionError("no error");
                } catch (BatchUpdateException e) {
                    expect(e.getSQLState(), "23505");
                }
                c.rollback();
            }
            expect(one(c, "SELECT count(*) FROM jdbc_batch"), 500L);
        });
        check("keys that were generated come back", c -> {
            run(c, "DROP TABLE IF EXISTS jdbc_keys", "CREATE TABLE jdbc_keys (id serial PRIMARY KEY, v text)");
            try (PreparedStatement s = c.prepareStatement("INSERT INTO jdbc_keys (v) VALUES (?)",
                    Statement.RETURN_GENERATED_KEYS)) {
                s.setString(1, "a");
                s.executeUpdate();
                ResultSet r = s.getGeneratedKeys();
                r.next();
                expect(r.getInt("id"), 1);
            }
        });
        check("transactions have savepoints and levels", c -> {
            run(c, "DROP TABLE IF EXISTS jdbc_tx", "CREATE TABLE jdbc_tx (id int PRIMARY KEY)");
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            expect(c.getTransactionIsolation(), Connection.TRANSACTION_SERIALIZABLE);
            c.setAutoCommit(false);
            run(c, "INSERT INTO jdbc_tx VALUES (1)");
            Savepoint point = c.setSavepoint("point");
            run(c, "INSERT INTO jdbc_tx VALUES (2)");
            c.rollback(point);
            c.releaseSavepoint(point);
            c.commit();
            expect(one(c, "SELECT count(*) FROM jdbc_tx"), 1L);
            c.commit();
            c.setReadOnly(true);
            try {
                run(c, "INSERT INTO jdbc_tx VALUES (3)");
                throw new AssertionError("written in a read-only transaction");
            } catch (SQLException e) {
                expect(e.getSQLState(), "25006");
            }
        });
        check("rows come in pieces", c -> {
            c.setAutoCommit(false);
            try (PreparedStatement s = c.prepareStatement("SELECT g FROM generate_series(1, 10000) AS t(g)")) {
                s.setFetchSize(100);
                long sum = 0;
                ResultSet r = s.executeQuery();
                while (r.next()) sum += r.getLong(1);
                expect(sum, 50005000L);
            }
        });
        check("a million rows come", c -> {
            c.setAutoCommit(false);
            try (Statement s = c.createStatement()) {
                s.setFetchSize(10000);
                ResultSet r = s.executeQuery("SELECT g, 'row ' || g FROM generate_series(1, 1000000) AS t(g)");
                int rows = 0;
                while (r.next()) rows++;
                expect(rows, 1000000);
            }
        });
        check("copy goes in and out", c -> {
            run(c, "DROP TABLE IF EXISTS jdbc_copy", "CREATE TABLE jdbc_copy (id int PRIMARY KEY, v text)");
            CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
            expect(copy.copyIn("COPY jdbc_copy FROM STDIN WITH (FORMAT csv)",
                new StringReader("1,a\n2,\"b,c\"\n3,\n")), 3L);
            StringWriter out = new StringWriter();
            expect(copy.copyOut("COPY (SELECT * FROM jdbc_copy ORDER BY id) TO STDOUT", out), 3L);
            expect(out.toString(), "1\ta\n2\tb,c\n3\t\\N\n");
        });
        check("errors carry their fields", c -> {
            run(c, "DROP TABLE IF EXISTS jdbc_errors", "CREATE TABLE jdbc_errors (id int PRIMARY KEY)",
                "INSERT INTO jdbc_errors VALUES (1)");
            try {
                run(c, "INSERT INTO jdbc_errors VALUES (1)");
                throw new AssertionError("no error");
            } catch (org.postgresql.util.PSQLException e) {
                expect(e.getSQLState(), "23505");
                expect(e.getServerErrorMessage().getConstraint(), "jdbc_errors_pkey");
                expect(e.getServerErrorMessage().getTable(), "jdbc_errors");
            }
        });
        check("a statement is cancelled and timed out", c -> {
            try (Statement s = c.createStatement()) {
                s.setQueryTimeout(1);
                s.execute("SELECT pg_sleep(30)");
                throw new AssertionError("no error");
            } catch (SQLException e) {
                expect(e.getSQLState(), "57014");
            }
            expect(one(c, "SELECT 1"), 1);
        });
        check("notifications arrive", c -> {
            run(c, "LISTEN jdbc_news");
            try (Connection other = DriverManager.getConnection(url)) {
                run(other, "NOTIFY jdbc_news, 'hello'");
            }
            var got = c.unwrap(PGConnection.class).getNotifications(5000);
            expect(got.length, 1);
            expect(got[0].getParameter(), "hello");
        });
        check("notices are warnings", c -> {
            try (Statement s = c.createStatement()) {
                s.execute("DROP TABLE IF EXISTS jdbc_never");
                expect(s.getWarnings().getMessage(), "table \"jdbc_never\" does not exist, skipping");
            }
        });
        check("metadata tells of tables, columns and keys", c -> {
            run(c, "DROP TABLE IF EXISTS jdbc_meta",
                "CREATE TABLE jdbc_meta (a int, b varchar(20) NOT NULL, n numeric(10,3) DEFAULT 1, "
                + "t timestamptz, PRIMARY KEY (b, a))",
                "CREATE UNIQUE INDEX jdbc_meta_n ON jdbc_meta (n)");
            DatabaseMetaData m = c.getMetaData();
            expect(m.getDatabaseProductName(), "PostgreSQL");
            expect(m.getDatabaseMajorVersion(), 15);
            expect(m.getUserName(), "chronos");
            try (ResultSet r = m.getTables(null, "public", "jdbc_meta", new String[] {"TABLE"})) {
                expect(column(r, "TABLE_NAME"), List.of("jdbc_meta"));
            }
            try (ResultSet r = m.getColumns(null, "public", "jdbc_meta", "%")) {
                List<String> seen = new ArrayList<>();
                while (r.next()) {
                    seen.add(r.getString("COLUMN_NAME") + " " + r.getString("TYPE_NAME") + " "
                        + r.getInt("COLUMN_SIZE") + " " + r.getInt("DECIMAL_DIGITS") + " "
                        + r.getString("IS_NULLABLE") + " " + r.getInt("DATA_TYPE"));
                }
                expect(seen, List.of("a int4 10 0 NO 4", "b varchar 20 0 NO 12",
                    "n numeric 10 3 YES 2", "t timestamptz 35 6 YES 93"));
            }
            try (ResultSet r = m.getPrimaryKeys(null, "public", "jdbc_meta")) {
                Map<String, Integer> keys = new TreeMap<>();
                while (r.next()) {
                    keys.put(r.getString("COLUMN_NAME"), r.getInt("KEY_SEQ"));
                    expect(r.getString("PK_NAME"), "jdbc_meta_pkey");
                }
                expect(keys, Map.of("b", 1, "a", 2));
            }
            try (ResultSet r = m.getIndexInfo(null, "public", "jdbc_meta", false, false)) {
                expect(new TreeSet<>(column(r, "INDEX_NAME")),
                    new TreeSet<>(List.of("jdbc_meta_pkey", "jdbc_meta_n")));
            }
            try (ResultSet r = m.getSchemas()) {
                expect(column(r, "TABLE_SCHEM").contains("public"), true);
            }
            try (ResultSet r = m.getCatalogs()) {
                expect(column(r, "TABLE_CAT").contains("chronos"), true);
            }
            try (ResultSet r = m.getTypeInfo()) {
                expect(column(r, "TYPE_NAME").contains("int4"), true);
            }
            try (ResultSet r = m.getTableTypes()) {
                expect(column(r, "TABLE_TYPE").contains("VIEW"), true);
            }
            for (ResultSet r : List.of(m.getImportedKeys(null, "public", "jdbc_meta"),
                    m.getExportedKeys(null, "public", "jdbc_meta"),
                    m.getTablePrivileges(null, "public", "jdbc_meta"),
                    m.getProcedures(null, "public", "%"), m.getFunctions(null, "public", "%"),
                    m.getBestRowIdentifier(null, "public", "jdbc_meta", 0, true),
                    m.getColumnPrivileges(null, "public", "jdbc_meta", "%"))) {
                while (r.next()) {}
                r.close();
            }
            m.getMaxColumnNameLength();
            m.getSQLKeywords();
        });
        check("a result tells of its columns", c -> {
            run(c, "DROP TABLE IF EXISTS jdbc_result",
                "CREATE TABLE jdbc_result (a int NOT NULL, b varchar(20), s serial)");
            try (Statement s = c.createStatement()) {
                ResultSetMetaData m = s.executeQuery("SELECT a, b AS other, s, 1 + 1 FROM jdbc_result")
                    .getMetaData();
                expect(m.getTableName(1), "jdbc_result");
                expect(m.getColumnLabel(2), "other");
                expect(((org.postgresql.PGResultSetMetaData) m).getBaseColumnName(2), "b");
                expect(m.getPrecision(2), 20);
                expect(m.isNullable(1), ResultSetMetaData.columnNoNulls);
                expect(m.isAutoIncrement(3), true);
                expect(m.getColumnName(4), "?column?");
            }
            try (PreparedStatement s = c.prepareStatement("SELECT b FROM jdbc_result WHERE a = ?")) {
                expect(s.getParameterMetaData().getParameterTypeName(1), "int4");
                expect(s.getMetaData().getColumnTypeName(1), "varchar");
            }
        });
        check("an updatable result writes", c -> {
            run(c, "DROP TABLE IF EXISTS jdbc_update", "CREATE TABLE jdbc_update (id int PRIMARY KEY, v text)",
                "INSERT INTO jdbc_update VALUES (1, 'a')");
            try (Statement s = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE,
                    ResultSet.CONCUR_UPDATABLE)) {
                ResultSet r = s.executeQuery("SELECT id, v FROM jdbc_update");
                r.next();
                r.updateString("v", "b");
                r.updateRow();
            }
            expect(one(c, "SELECT v FROM jdbc_update"), "b");
        });
        check("a connection is valid and has a schema", c -> {
            expect(c.isValid(5), true);
            expect(c.getSchema(), "public");
            expect(c.getCatalog(), "chronos");
            c.setSchema("public");
            c.setNetworkTimeout(Runnable::run, 10000);
        });
        try (Connection c = DriverManager.getConnection(url)) {
            if (((String) one(c, "SELECT version()")).contains("Chronos")) {
                check("the past takes a parameter", d -> {
                    run(d, "DROP TABLE IF EXISTS jdbc_past", "CREATE TABLE jdbc_past (id int PRIMARY KEY, v text)",
                        "INSERT INTO jdbc_past VALUES (1, 'old')");
                    Object before = one(d, "SELECT clock_timestamp()");
                    run(d, "UPDATE jdbc_past SET v = 'new'");
                    expect(one(d, "SELECT v FROM jdbc_past FOR SYSTEM_TIME AS OF ?", before), "old");
                });
            }
        }
        System.out.println((count - failed) + " of " + count + " checks passed");
        System.exit(failed > 0 ? 1 : 0);
    }
}
