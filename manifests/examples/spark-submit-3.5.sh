#!/bin/sh
# Spark 3.5: a gang of one driver and four executors. Nothing but the scheduler's name is needed; the size of
# the gang is read from the configuration below, memory overhead included.
#
#   K8S_MASTER=k8s://https://HOST:PORT IMAGE=... NAMESPACE=... ./spark-submit-3.5.sh
set -eu
exec "${SPARK_HOME:?set SPARK_HOME to a Spark 3.5 installation}/bin/spark-submit" \
  --master "${K8S_MASTER:?set K8S_MASTER, such as k8s://https://HOST:PORT}" \
  --deploy-mode cluster \
  --name spark-pi \
  --class org.apache.spark.examples.SparkPi \
  --conf spark.kubernetes.scheduler.name=carbon-scheduler \
  --conf spark.kubernetes.namespace="${NAMESPACE:-default}" \
  --conf spark.kubernetes.authenticate.driver.serviceAccountName="${SERVICE_ACCOUNT:-spark}" \
  --conf spark.kubernetes.container.image="${IMAGE:?set IMAGE to a Spark 3.5 image}" \
  --conf spark.executor.instances=4 \
  --conf spark.executor.cores=2 \
  --conf spark.executor.memory=4g \
  "local:///opt/spark/examples/jars/${EXAMPLES_JAR:?set EXAMPLES_JAR to the name of the examples jar in the image}" 1000
