//! A backup and what is restored of it.

use chronos_catalog::raft::Severity;
use chronos_storage::BackupStore;

use super::*;
use crate::restore::restore;

/// Instants with what table `t` says at each.
type Past = Vec<(CommitTs, Vec<(i64, String)>)>;

async fn restored(from: &str, as_of: Option<CommitTs>) -> Result<(Dir, Arc<Engine>), Error> {
    let dir = Dir::new();
    let (config, from) = (dir.config(), from.to_owned());
    tokio::task::spawn_blocking(move || restore(&config, &from, as_of)).await.unwrap()?;
    let engine = dir.open().await;
    Ok((dir, engine))
}

/// Two more tables' worth of changes; gives the instants.
async fn change(engine: &Arc<Engine>, t: Oid, round: i64, past: &mut Past) {
    for step in 0..3 {
        let first = round * 100 + step * 10;
        insert(engine, t, &(first..first + 10).collect::<Vec<_>>(), "new").await;
        let mut transaction = engine.begin();
        update(&mut transaction, t, first, "changed").await;
        let gone = find(&transaction, t, first + 1).await;
        transaction.end_rows(t, &[gone]).unwrap();
        if first > 10 {
            update(&mut transaction, t, 5, &format!("in {first}")).await;
        }
        let at = commit(transaction).await.unwrap();
        past.push((at, read(&engine.begin(), t, None).await));
        match step {
            0 => engine.flush(t).await.unwrap(),
            1 => engine.compact(t).await.unwrap(),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_database_answers_as_of_every_instant_as_the_first_did() {
    let (dir, backups) = (Dir::new(), Dir::new());
    let url = backups.0.to_str().unwrap().to_owned();
    let engine = dir.open().await;
    let t = table(&engine).await;
    let mut past = Past::new();
    change(&engine, t, 0, &mut past).await;
    let (first, size) = engine.backup(&url).await.unwrap();
    assert!(size.copied == size.objects && size.objects > 0, "{size:?}");
    let (_, size) = engine.backup(&url).await.unwrap();
    assert_eq!(size.copied, 0, "{size:?}");
    change(&engine, t, 1, &mut past).await;
    // A table that some instants do not know.
    let mut transaction = engine.begin();
    let late = create(&mut transaction, "late");
    let made = commit(transaction).await.unwrap();
    insert(&engine, late, &[1], "late").await;
    let (last, size) = engine.backup(&url).await.unwrap();
    assert!(first < last && size.copied > 0, "{size:?}");
    engine.shutdown().await.unwrap();

    let (_kept, engine) = restored(&url, None).await.unwrap();
    assert_eq!(engine.last_commit(), last);
    for (at, expected) in &past {
        assert_eq!(&read(&engine.begin(), t, Some(*at)).await, expected, "{at}");
    }
    assert_eq!(ids(&engine.begin(), late).await, [1]);
    insert(&engine, t, &[1000], "goes on").await;
    engine.shutdown().await.unwrap();

    // The log of commits goes by the same rules, so any instant will do.
    for (n, (at, expected)) in past.iter().enumerate() {
        let (kept, engine) = restored(&url, Some(*at)).await.unwrap();
        assert_eq!(engine.last_commit(), *at);
        assert_eq!(&read(&engine.begin(), t, None).await, expected, "{at}");
        for (earlier, expected) in &past[..n] {
            assert_eq!(&read(&engine.begin(), t, Some(*earlier)).await, expected, "{earlier}");
        }
        let all = query(&engine.begin(), t, Some(*at), "SELECT id, v FROM t WHERE id = 5").await;
        assert_eq!(all.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
        assert!(*at < made && engine.begin().current_table(late).is_err());
        // Keys are known, and the history goes on.
        let mut transaction = engine.begin();
        assert!(transaction.insert(t, rows([5], "again"), None).await.is_err());
        update(&mut transaction, t, 5, "after").await;
        let after = commit(transaction).await.unwrap();
        assert!(after > *at);
        assert_eq!(&read(&engine.begin(), t, Some(*at)).await, expected);
        engine.compact(t).await.unwrap();
        assert_eq!(&read(&engine.begin(), t, Some(*at)).await, expected);
        engine.shutdown().await.unwrap();
        let config = kept.config();
        let check = move || crate::offline::check(&config).unwrap();
        let findings = tokio::task::spawn_blocking(check).await.unwrap();
        assert!(findings.iter().all(|f| f.severity == Severity::Fine), "{findings:?}");
    }
    let error = restored(&url, Some(CommitTs(last.0 + 1_000_000_000))).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_backup_is_told_and_not_restored() {
    let (dir, backups) = (Dir::new(), Dir::new());
    let url = backups.0.to_str().unwrap().to_owned();
    let engine = dir.open().await;
    let t = table(&engine).await;
    change(&engine, t, 0, &mut Past::new()).await;
    engine.backup(&url).await.unwrap();
    engine.shutdown().await.unwrap();
    let store = BackupStore::open(&url).unwrap();
    let verify = async || {
        let findings = store.verify().await.unwrap();
        let damaged = findings.into_iter().filter(|f| f.severity == Severity::Damaged);
        damaged.map(|f| f.message).collect::<Vec<_>>()
    };
    assert_eq!(verify().await, Vec::<String>::new());
    let mut all = Vec::new();
    flips::files(&backups.0, &mut all);
    assert!(all.len() > 4, "{all:?}");
    for file in all {
        let good = std::fs::read(&file).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 3] ^= 16;
        for bad in [Some(bad), Some(good[..good.len() - 1].to_vec()), None] {
            match &bad {
                Some(bad) => std::fs::write(&file, bad).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            let name = file.strip_prefix(&backups.0).unwrap().display().to_string();
            // Without what names it a backup is none.
            let is_none = bad.is_none() && name.ends_with(".backup");
            let told = verify().await;
            assert!(is_none || told.len() == 1 && told[0].contains(&name), "{name}: {told:?}");
            let error = restored(&url, None).await.unwrap_err();
            let error = crate::error::PgError::from(error);
            assert!(is_none || error.code == "XX001", "{name}: {error:?}");
        }
        std::fs::write(&file, &good).unwrap();
    }
    assert!(restored(&url, None).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_leaves_alone_what_is_there() {
    let (dir, backups) = (Dir::new(), Dir::new());
    let url = backups.0.to_str().unwrap().to_owned();
    let engine = dir.open().await;
    engine.backup(&url).await.unwrap();
    engine.shutdown().await.unwrap();
    let config = dir.config();
    let refused = tokio::task::spawn_blocking(move || restore(&config, &url, None)).await.unwrap();
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
}
