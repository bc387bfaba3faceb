"""What a Python program does with SQLAlchemy 2: engine, schema, reflection, ORM."""

import datetime
import decimal
import sys
import uuid

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql as pg

from checks import end, expect, runner

ENGINE = sa.create_engine(sys.argv[1].replace("postgres://", "postgresql+psycopg://"))


def connect(function):
    function(ENGINE)


check = runner(connect)
UTC = datetime.timezone.utc


class Base(orm.DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "sqa_authors"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50), unique=True)
    born: orm.Mapped[datetime.date | None]
    books: orm.Mapped[list["Book"]] = orm.relationship(
        back_populates="author", cascade="all, delete-orphan",
        primaryjoin="Author.id == foreign(Book.author_id)")


class Book(Base):
    __tablename__ = "sqa_books"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    author_id: orm.Mapped[int] = orm.mapped_column(sa.Integer, index=True)
    title: orm.Mapped[str]
    price: orm.Mapped[decimal.Decimal] = orm.mapped_column(sa.Numeric(10, 2))
    added: orm.Mapped[datetime.datetime] = orm.mapped_column(sa.DateTime(timezone=True))
    tags: orm.Mapped[dict | None] = orm.mapped_column(pg.JSONB)
    author: orm.Mapped[Author] = orm.relationship(
        back_populates="books", primaryjoin="Author.id == foreign(Book.author_id)")


@check
def the_schema_is_made_and_dropped(engine):
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    Base.metadata.create_all(engine)


@check
def objects_are_stored_and_found(engine):
    with orm.Session(engine) as session:
        author = Author(name="Čapek", born=datetime.date(1890, 1, 9))
        for i in range(3):
            author.books.append(Book(title=f"R.U.R. {i}", price=decimal.Decimal("9.50") + i,
                                     added=datetime.datetime(2026, 1, 1, tzinfo=UTC),
                                     tags={"n": [i, None]}))
        session.add(author)
        session.add_all([Author(name=f"Author {i}") for i in range(50)])
        session.commit()
        expect(author.id, 1)
    with orm.Session(engine) as session:
        author = session.scalars(sa.select(Author).where(Author.name == "Čapek")).one()
        expect([b.title for b in sorted(author.books, key=lambda b: b.id)],
               ["R.U.R. 0", "R.U.R. 1", "R.U.R. 2"])
        expect(author.books[0].tags, {"n": [0, None]})
        author.books[0].title = "Krakatit"
        session.commit()
        rows = session.execute(
            sa.select(Author.name, sa.func.count(Book.id), sa.func.sum(Book.price))
            .join(Book, Book.author_id == Author.id).group_by(Author.name)
            .having(sa.func.count(Book.id) > 1)).all()
        expect([tuple(r) for r in rows], [("Čapek", 3, decimal.Decimal("31.50"))])
        loaded = session.scalars(sa.select(Author).options(orm.selectinload(Author.books))
                                 .order_by(Author.id).limit(5).offset(0)).all()
        expect(len(loaded), 5)
        loaded = session.scalars(sa.select(Author).options(orm.joinedload(Author.books))
                                 .where(Author.id.in_([1, 2, 3]))).unique().all()
        expect(len(loaded), 3)
        session.delete(author)
        session.commit()
        expect(session.scalar(sa.select(sa.func.count()).select_from(Book)), 0)


@check
def an_exception_rolls_back(engine):
    with orm.Session(engine) as session:
        session.add(Author(name="Author 1"))
        try:
            session.commit()
            raise AssertionError("no error")
        except sa.exc.IntegrityError as error:
            expect(error.orig.sqlstate, "23505")
        session.rollback()
        with session.begin_nested():
            session.add(Author(name="nested"))
        session.commit()


@check
def statements_of_the_core_run(engine):
    table = sa.Table("sqa_core", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True),
                     sa.Column("v", sa.Text), sa.Column("a", pg.ARRAY(sa.Integer)),
                     sa.Column("u", sa.Uuid), sa.Column("b", sa.LargeBinary),
                     sa.Column("f", sa.Boolean, server_default=sa.true()),
                     sa.Column("e", sa.Interval), sa.Column("d", sa.Float))
    table.drop(engine, checkfirst=True)
    table.create(engine)
    u = uuid.uuid4()
    with engine.begin() as connection:
        connection.execute(table.insert(), [
            {"id": i, "v": f"v{i}", "a": [i, None], "u": u, "b": b"\x00", "d": 0.5,
             "e": datetime.timedelta(days=i)} for i in range(100)])
        connection.execute(pg.insert(table).values(id=1, v="x").on_conflict_do_update(
            index_elements=["id"], set_={"v": "updated"}))
        connection.execute(pg.insert(table).values(id=1, v="x").on_conflict_do_nothing())
        row = connection.execute(sa.select(table).where(table.c.id == 1)).one()
        expect(tuple(row), (1, "updated", [1, None], u, b"\x00", True, datetime.timedelta(days=1), 0.5))
        got = connection.execute(table.update().where(table.c.id > 97).values(v=table.c.v + "!")
                                 .returning(table.c.id, table.c.v)).all()
        expect(sorted(map(tuple, got)), [(98, "v98!"), (99, "v99!")])
        expect(connection.execute(table.delete().where(table.c.id.between(10, 19))).rowcount, 10)
        got = connection.execution_options(stream_results=True, yield_per=10).execute(
            sa.select(table.c.id).order_by(table.c.id))
        expect(len(list(got)), 90)
        got = connection.scalars(sa.select(table.c.id).where(table.c.v.ilike("V5%"))
                                 .order_by(table.c.id)).all()
        expect(got[0], 5)
        cte = sa.select(table.c.id).where(table.c.id < 5).cte("few")
        expect(connection.scalar(sa.select(sa.func.count()).select_from(cte)), 5)
        window = sa.func.row_number().over(order_by=table.c.id.desc())
        expect(connection.execute(sa.select(table.c.id, window).limit(1)).one()[1], 1)
        expect(connection.scalar(sa.select(sa.exists().where(table.c.id == 1))), True)
        expect(connection.scalar(sa.select(sa.cast("5", sa.Integer))), 5)


@check
def a_schema_is_reflected(engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP VIEW IF EXISTS sqa_view")
        connection.exec_driver_sql("DROP TABLE IF EXISTS sqa_reflect")
        connection.exec_driver_sql(
            "CREATE TABLE sqa_reflect (id serial PRIMARY KEY, v varchar(20) NOT NULL DEFAULT 'x', "
            "n numeric(10,2), t timestamptz, a int[], CONSTRAINT positive CHECK (n > 0), "
            "CONSTRAINT v_n UNIQUE (v, n))")
        connection.exec_driver_sql("CREATE INDEX sqa_reflect_t ON sqa_reflect (t)")
        connection.exec_driver_sql("COMMENT ON TABLE sqa_reflect IS 'reflected'")
        connection.exec_driver_sql("CREATE VIEW sqa_view AS SELECT id, v FROM sqa_reflect")
    inspector = sa.inspect(engine)
    expect("sqa_reflect" in inspector.get_table_names(), True)
    expect("sqa_view" in inspector.get_view_names(), True)
    expect("public" in inspector.get_schema_names(), True)
    expect(inspector.has_table("sqa_reflect"), True)
    expect(inspector.has_table("sqa_none"), False)
    columns = inspector.get_columns("sqa_reflect")
    expect([(c["name"], str(c["type"]), c["nullable"]) for c in columns],
           [("id", "INTEGER", False), ("v", "VARCHAR(20)", False), ("n", "NUMERIC(10, 2)", True),
            ("t", "TIMESTAMP", True), ("a", "ARRAY", True)])
    expect(inspector.get_pk_constraint("sqa_reflect")["constrained_columns"], ["id"])
    expect([u["column_names"] for u in inspector.get_unique_constraints("sqa_reflect")],
           [["v", "n"]])
    expect([c["name"] for c in inspector.get_check_constraints("sqa_reflect")], ["positive"])
    expect(sorted(i["name"] for i in inspector.get_indexes("sqa_reflect")),
           ["sqa_reflect_t", "v_n"])
    expect(inspector.get_foreign_keys("sqa_reflect"), [])
    expect(inspector.get_table_comment("sqa_reflect"), {"text": "reflected"})
    metadata = sa.MetaData()
    table = sa.Table("sqa_reflect", metadata, autoload_with=engine)
    expect(table.c.v.type.length, 20)
    with engine.begin() as connection:
        result = connection.execute(table.insert().values(v="y", n=1))
        expect(result.inserted_primary_key[0], 1)


@check
def isolation_levels_are_set(engine):
    with engine.connect() as connection:
        for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"):
            other = connection.execution_options(isolation_level=level)
            expect(other.scalar(sa.text("SELECT 1")), 1)
            expect(other.get_isolation_level(), level)
            other.rollback()


end()
