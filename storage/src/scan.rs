//! The operator that reads a table's segments.

use std::fmt;
use std::sync::Arc;

use chronos_catalog::{ReadTs, SystemTime};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, Metric, MetricValue, MetricsSet, RecordOutput,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    ReplaceChildrenOptions, StatisticsArgs,
};
use futures::{StreamExt, TryStreamExt};

use crate::object::{Objects, Traffic};
use crate::parts::Parts;
use crate::segment::Source;
use crate::segment::reader::{Part, Pruner, ReadSpec, read_part};

/// Reads the versions of one table that a read sees.
#[derive(Debug)]
pub(crate) struct ScanExec {
    spec: Arc<ReadSpec>,
    objects: Arc<Objects>,
    groups: Vec<Vec<Part>>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    limit: Option<usize>,
    about: About,
    rows: Precision<usize>,
    /// What it read, keys and row ends included.
    traffic: Traffic,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

/// What EXPLAIN tells.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) time: SystemTime,
    pub(crate) read_ts: ReadTs,
    /// The key that told the positions.
    pub(crate) key: Option<String>,
    pub(crate) segments: usize,
    pub(crate) pruned: usize,
    pub(crate) masked: u64,
}

/// How a scan is run.
#[derive(Clone, Debug)]
pub(crate) struct ScanOptions {
    /// What row groups and pages are left out by; the rows are filtered above.
    pub(crate) predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Whether rows are filtered above.
    pub(crate) filtered: bool,
    /// No more rows than this are wanted.
    pub(crate) limit: Option<usize>,
    /// At most how many partitions.
    pub(crate) partitions: usize,
    /// Segments are cut at multiples of it.
    pub(crate) row_group_rows: usize,
}

impl ScanExec {
    pub(crate) fn new(
        spec: ReadSpec,
        objects: Arc<Objects>,
        parts: Parts,
        options: ScanOptions,
        about: About,
    ) -> Self {
        let ScanOptions { predicate, filtered, limit, partitions, row_group_rows } = options;
        let rows = match parts.exact_rows {
            Some(n) if !filtered => {
                let n = n as usize;
                Precision::Exact(limit.map_or(n, |limit| n.min(limit)))
            }
            _ => Precision::Inexact(parts.most_rows as usize),
        };
        let groups = spread(parts.parts, partitions, row_group_rows as u32);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&spec.schema)),
            Partitioning::UnknownPartitioning(groups.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        ScanExec {
            spec: Arc::new(spec),
            objects,
            groups,
            predicate,
            limit,
            about,
            rows,
            traffic: Traffic::default(),
            metrics: ExecutionPlanMetricsSet::new(),
            properties: Arc::new(properties),
        }
    }

    /// Shows what was read through the objects that it was given.
    pub(crate) fn counted(self, traffic: Traffic) -> Self {
        ScanExec { traffic, ..self }
    }

    fn statistics(&self, partition: Option<usize>) -> Arc<Statistics> {
        let mut statistics = Statistics::new_unknown(&self.spec.schema);
        statistics.num_rows = match partition {
            Some(_) if self.groups.len() > 1 => Precision::Absent,
            _ => self.rows,
        };
        Arc::new(statistics)
    }
}

/// Cuts cold segments at row groups and spreads the pieces over partitions, the largest first.
fn spread(parts: Vec<Part>, partitions: usize, row_group_rows: u32) -> Vec<Vec<Part>> {
    let mut pieces: Vec<(u64, Part)> = Vec::new();
    for part in parts {
        if let Some(only) = &part.only {
            pieces.push((only.len(), part));
            continue;
        }
        match &part.source {
            Source::Hot(..) => pieces.push((u64::from(part.range.end - part.range.start), part)),
            Source::Cold(_) => {
                let mut start = part.range.start;
                while start < part.range.end {
                    let end = part.range.end.min(start.saturating_add(row_group_rows.max(1)));
                    pieces
                        .push((u64::from(end - start), Part { range: start..end, ..part.clone() }));
                    start = end;
                }
            }
        }
    }
    let total: u64 = pieces.iter().map(|p| p.0).sum();
    // A thread is not worth a handful of rows.
    let useful = (total / 4096 + 1).min(pieces.len() as u64) as usize;
    let n = partitions.min(useful).max(1);
    pieces.sort_by_key(|p| std::cmp::Reverse(p.0));
    let mut groups: Vec<(u64, Vec<Part>)> = vec![(0, Vec::new()); n];
    for (rows, part) in pieces {
        if let Some(group) = groups.iter_mut().min_by_key(|g| g.0) {
            group.0 += rows;
            group.1.push(part);
        }
    }
    let mut groups: Vec<Vec<Part>> = groups.into_iter().map(|g| g.1).collect();
    for group in &mut groups {
        group.sort_by_key(|p| (p.id, p.range.start));
    }
    groups
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = &self.about;
        let time = match about.time {
            SystemTime::AsOf(t) => format!("AS OF {t}"),
            SystemTime::FromTo(a, b) => format!("FROM {a} TO {b}"),
            SystemTime::Between(a, b) => format!("BETWEEN {a} AND {b}"),
            SystemTime::ContainedIn(a, b) => format!("CONTAINED IN ({a}, {b})"),
            SystemTime::All => format!("ALL up to {}", about.read_ts),
        };
        let tree = matches!(t, DisplayFormatType::TreeRender);
        let mut items = vec![
            ("table", self.spec.table.to_string()),
            ("system_time", time),
            ("segments", about.segments.to_string()),
            ("segments_pruned", about.pruned.to_string()),
            ("rows_masked", about.masked.to_string()),
        ];
        let columns: Vec<&str> =
            self.spec.schema.fields().iter().map(|f| f.name().as_str()).collect();
        items.push(("projection", format!("[{}]", columns.join(", "))));
        if let Some(key) = &about.key {
            items.push(("key", key.clone()));
        }
        if let Some(predicate) = &self.predicate {
            items.push(("pruning_predicate", predicate.to_string()));
        }
        if let Some(limit) = self.limit {
            items.push(("limit", limit.to_string()));
        }
        if tree {
            return items.iter().try_for_each(|(name, value)| writeln!(f, "{name}={value}"));
        }
        let items: Vec<String> =
            items.iter().map(|(name, value)| format!("{name}={value}")).collect();
        write!(f, "VersionedScanExec: {}", items.join(", "))
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        "VersionedScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        match &self.predicate {
            Some(predicate) => f(predicate),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let parts = self.groups.get(partition).cloned().ok_or_else(|| {
            DataFusionError::Internal(format!("a scan has no partition {partition}"))
        })?;
        let schema: SchemaRef = Arc::clone(&self.spec.schema);
        let batch_rows = context.session_config().batch_size().max(1);
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let pruner = self.predicate.as_ref().map(|expr| {
            let (expr, metrics) = (Arc::clone(expr), self.metrics.clone());
            Arc::new(Pruner { expr, metrics, partition })
        });
        let (spec, objects) = (Arc::clone(&self.spec), Arc::clone(&self.objects));
        let batches = futures::stream::iter(parts)
            .map(move |part| {
                let (spec, objects) = (Arc::clone(&spec), Arc::clone(&objects));
                read_part(spec, part, objects, pruner.clone(), batch_rows)
            })
            .flatten()
            .map_err(DataFusionError::from);
        let mut left = self.limit.unwrap_or(usize::MAX);
        let limited = batches
            .try_take_while(move |batch| {
                let go_on = left > 0;
                left = left.saturating_sub(batch.num_rows());
                std::future::ready(Ok(go_on))
            })
            .map(move |batch| batch.map(|b| b.record_output(&baseline)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, limited)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut metrics = self.metrics.clone_inner();
        let Traffic { fetched, cached } = &self.traffic;
        for (name, count) in [("bytes_read", fetched), ("bytes_from_memory", cached)] {
            let value = MetricValue::Count { name: name.into(), count: count.clone() };
            metrics.push(Arc::new(Metric::new(value, None)));
        }
        Some(metrics)
    }

    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> DfResult<Arc<Statistics>> {
        Ok(self.statistics(args.partition()))
    }
}
